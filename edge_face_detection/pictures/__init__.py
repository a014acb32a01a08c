"""Makes pictures of faces: masked, cut out, chosen, encoded as PNG."""

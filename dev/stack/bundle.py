"""A bundle, which an edge is given when it is enrolled."""

from __future__ import annotations

import io
import ssl
import tarfile
from dataclasses import dataclass
from pathlib import Path

from face_messages import TlsFiles

#: What is in a bundle, in this order.
MEMBERS = ("cloud_ca.crt", "cloud_client.crt", "cloud_client.key", "edge.env")


@dataclass(frozen=True, slots=True)
class Bundle:
    """An unpacked bundle; `tar` is the whole of it."""

    tar: Path
    ca: Path
    cert: Path
    key: Path

    @classmethod
    def unpack(cls, content: bytes, folder: Path) -> Bundle:
        """Unpacks a bundle into a folder that this makes. Raises ValueError if other files are in it."""
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            if tuple(tar.getnames()) != MEMBERS:
                raise ValueError(f"a bundle of {tar.getnames()}")
            tar.extractall(folder, filter="data")
        whole = folder / "bundle.tar"
        whole.write_bytes(content)
        return cls(whole, *(folder / member for member in MEMBERS[:3]))

    @property
    def settings(self) -> dict[str, str]:
        """Of a forwarder that was enrolled with it."""
        files = {"CA": self.ca, "CERT": self.cert, "KEY": self.key}
        return {f"CLOUD_MQTT_{name}_FILE": str(path) for name, path in files.items()}

    @property
    def files(self) -> TlsFiles:
        return TlsFiles(self.ca, self.cert, self.key)

    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.ca)
        context.load_cert_chain(self.cert, self.key)
        return context

"""Frames are H×W×3 uint8, BGR, whatever they came from."""

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_face_detection.frames import to_bgr


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1), (4, 6, 3), (4, 6, 4)])
@pytest.mark.parametrize(("dtype", "value"), [(np.uint8, 200), (np.uint16, 200 * 256 + 7)])
def test_grey_bgr_and_bgra_of_8_and_16_bits_become_bgr(
    shape: tuple[int, ...], dtype: type[np.generic], value: int
) -> None:
    """The size and the brightness stay, alpha goes."""
    image = to_bgr(np.full(shape, value, dtype))
    assert image.shape == (4, 6, 3)
    assert image.dtype == np.uint8
    assert (image == 200).all()


def test_alpha_goes_and_colours_stay_in_their_order() -> None:
    assert to_bgr(np.full((1, 1, 4), (10, 20, 30, 40), np.uint8)).tolist() == [[[10, 20, 30]]]


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 6, 2), np.uint8),
        np.zeros((4, 6, 3), np.float64),
        np.zeros((0, 6, 3), np.uint8),
        np.zeros(6, np.uint8),
        np.zeros((1, 4, 6, 3), np.uint8),
    ],
)
def test_what_is_no_picture_is_refused(image: NDArray[np.generic]) -> None:
    """Two channels, floats, no pixels, one and four dimensions."""
    with pytest.raises(ValueError, match="no picture"):
        to_bgr(image)

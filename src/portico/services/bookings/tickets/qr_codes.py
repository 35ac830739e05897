"""QR codes of ticket codes (ISO/IEC 18004)."""

import io
from typing import Final, Literal

import segno

QrFormat = Literal["svg", "png"]

MEDIA_TYPES: Final[dict[QrFormat, str]] = {"svg": "image/svg+xml", "png": "image/png"}

_ERROR_CORRECTION: Final = "m"  # 15 % of a symbol may be unreadable: a crease, a scratched display
_SCALE: Final = 8  # pixels per module
_QUIET_ZONE: Final = 4  # modules, section 9.1


def draw_qr_code(text: str, image: QrFormat) -> bytes:
    """Return the QR code of `text` as an image. It takes milliseconds: call it in a thread."""
    target = io.BytesIO()
    options = {"omitsize": True} if image == "svg" else {}
    segno.make_qr(text, error=_ERROR_CORRECTION).save(
        target, kind=image, scale=_SCALE, border=_QUIET_ZONE, light="white", **options
    )
    return target.getvalue()

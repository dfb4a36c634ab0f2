"""Whether a picture looks the same at every size when its strokes are a share of it (--stroke).

    python benchmarks/stroke.py PHOTOS                         # figures as JSON lines on stdout, the verdict on stderr
    python benchmarks/stroke.py PHOTOS --sheets FOLDER         # and what it looks like

Every photo is painted at two sizes in each style, with the same stroke. The large painting is made as small as the
small one, and the two are compared:

    ssim      structural similarity (Wang et al. 2004; impasto.runtime.similarity). The target is 0.9 or more of each.
    plain     the same with the painter's own strokes at both sizes, as it is without --stroke
    sharp     gradients of the large painting where those of the photo are strongest (a tenth of its pixels), over the
              same of the small painting merely enlarged: above 1, edges are crisper than enlarging makes them

Photos smaller than the large size are enlarged to it (Lanczos), which says so: "enlarged" is true.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from impasto.errors import ImpastoError
from impasto.runtime.picture import Picture, resample
from impasto.runtime.similarity import ssim
from impasto.runtime.style import StyleModel

TARGET = 0.9
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
STYLES = ("starry-night", "great-wave", "woman-with-a-hat")

Rgb = NDArray[np.float32]


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("photos", type=Path, help="folder of photos")
    parser.add_argument("--style", action="append", help=f"a style; several may be given ({', '.join(STYLES)})")
    parser.add_argument("--model", default="anystyle", help="a style model: a name or a file (anystyle)")
    parser.add_argument("--stroke", default="auto", help="as for impasto stylize (auto)")
    parser.add_argument("--small", type=int, default=512, help="long side of the preview in pixels (512)")
    parser.add_argument("--large", type=int, default=3840, help="long side of the large painting in pixels (3840)")
    parser.add_argument("--photo-limit", type=int, default=None, help="photos to use, evenly chosen (all)")
    parser.add_argument(
        "--no-plain", action="store_true", help="leave the comparison with the painter's own strokes out"
    )
    parser.add_argument("--sheets", type=Path, default=None, help="folder for a sheet of each: see the module")
    parser.add_argument("--threads", type=int, default=None, help="CPU threads")
    options = parser.parse_args(arguments)
    if options.small < 16 or options.large < options.small or (options.photo_limit or 1) < 1:
        parser.error("--small must be 16 or more, --large no less, --photo-limit 1 or more")
    return options


def slopes(rgb: Rgb) -> Rgb:
    """How steep the brightness is: [H-1,W-1]."""
    grey = rgb.mean(axis=2)
    return np.hypot(np.diff(grey, axis=0)[:, 1:], np.diff(grey, axis=1)[1:])


def sharpness(photo: Rgb, large: Rgb, small: Rgb) -> float:
    """See the module; [H,W,3] of the photo and the large painting, [h,w,3] of the small one."""
    enlarged, _ = resample(small, None, (large.shape[1], large.shape[0]))
    steep = slopes(photo)
    edges = steep >= np.quantile(steep, 0.9)
    return float(slopes(large)[edges].mean() / max(float(slopes(enlarged)[edges].mean()), 1e-6))


def compare(model: StyleModel, path: Path, style: str, options: argparse.Namespace) -> dict[str, Any]:
    """One photo in one style."""
    photo = Picture.open(path)
    large, small = photo.resized(options.large), photo.resized(options.small)
    code = model.code(style)
    ours = [model.paint(one, code, stroke=options.stroke).rgb for one in (large, small)]
    figures: dict[str, Any] = {"photo": path.name, "style": style, "stroke": options.stroke}
    figures |= {"large": large.size, "small": small.size, "enlarged": max(photo.size) < options.large}
    reduced, _ = resample(ours[0], None, small.size)
    figures["ssim"] = round(ssim(reduced, ours[1]), 4)
    figures["sharp"] = round(sharpness(large.rgb, *ours), 3)
    sheet = [small.rgb, ours[1], reduced]
    if not options.no_plain:
        plain, _ = resample(model.paint(large, code).rgb, None, small.size)
        figures["plain"] = round(ssim(plain, model.paint(small, code).rgb), 4)
        sheet.append(plain)
    if options.sheets is not None:
        # The preview, the large painting made small, and the middle of the large one as it is.
        crop = [one[_middle(one, small.size)] for one in (large.rgb, ours[0])]
        name = f"{path.stem}-{Path(style).stem}.png"
        Picture(np.concatenate([*sheet, *crop], axis=1)).save(options.sheets / name, overwrite=True)
    return figures


def _middle(rgb: Rgb, size: tuple[int, int]) -> tuple[slice, slice]:
    top, left = (rgb.shape[0] - size[1]) // 2, (rgb.shape[1] - size[0]) // 2
    return slice(top, top + size[1]), slice(left, left + size[0])


def main(arguments: Sequence[str]) -> int:
    """Compare and print."""
    options = parse(arguments)
    found = options.photos.iterdir() if options.photos.is_dir() else ()
    files = sorted(path for path in found if path.suffix.lower() in SUFFIXES)
    if not files:
        print(f"{options.photos} holds no pictures: name a folder of {', '.join(SUFFIXES)}.", file=sys.stderr)
        return 2
    count = min(options.photo_limit or len(files), len(files))
    chosen = sorted({round(i) for i in np.linspace(0, len(files) - 1, count)})
    rows = []
    try:
        model = StyleModel.load(options.model, threads=options.threads)
        for index in chosen:
            for style in options.style or STYLES:
                rows.append(compare(model, files[index], style, options))
                print(json.dumps(rows[-1]), flush=True)
    except ImpastoError as error:
        print(error, file=sys.stderr)
        return 2
    figures = [row["ssim"] for row in rows]
    verdict = "met" if min(figures) >= TARGET else "missed"
    print(f"ssim {min(figures)} to {max(figures)}, target {TARGET} or more of each: {verdict}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

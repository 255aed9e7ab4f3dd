"""`python -m tests.ui.pictures`: the README's pictures, made small from those that the browser tests left."""

from pathlib import Path

from PIL import Image

PROJECT = Path(__file__).resolve().parents[2]
SHOWN = ("graph", "launchpad", "plot", "check")
MOST_BYTES = 300_000


def main() -> None:
    folder = PROJECT / "orchestration" / "screenshots"
    folder.mkdir(exist_ok=True)
    made = []
    for name in SHOWN:
        made.append(folder / f"{name}.webp")
        with Image.open(PROJECT / "data" / "screenshots" / f"{name}.png") as picture:
            picture.convert("RGB").save(made[-1], lossless=True, method=6)
    size = sum(path.stat().st_size for path in made)
    if size > MOST_BYTES:
        raise SystemExit(f"The pictures take {size:,} bytes, more than {MOST_BYTES:,}")


if __name__ == "__main__":
    main()

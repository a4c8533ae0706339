"""The second set of pictures with labels of a thousand classes: one picture of each, as a zip file.

    python -m benchmarks.analysis.thousand_set DATA/train_photos OUT.zip [--prefix ineta_]

The pictures lie among unlabelled ones; their sources' paths, in `manifest.json`, begin with the
WordNet number of the class. They are copied as they are to val/NUMBER_CLASS/NAME, which `eval-task`
reads. Recipes of training leave them out by `exclude`.
"""

import argparse
import json
import re
import zipfile
from pathlib import Path

from timm.data.imagenet_info import ImageNetInfo

from promptcodec.io.atomic import write_atomically
from promptcodec.training.data.sources import find_pictures
from promptcodec.training.networks import imagenet_labels

NUMBER = re.compile(r"n\d{8}(?=_)")


def main() -> None:
    """Write the zip file."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("data", type=Path)
    options.add_argument("out", type=Path)
    options.add_argument("--prefix", default="ineta_", help="start of their file names")
    arguments = options.parse_args()
    items = json.loads((arguments.data / "manifest.json").read_text())["items"]
    synsets = {item["file"]: number_of(item["path"]) for item in items}
    labels = dict(zip(ImageNetInfo().label_names(), imagenet_labels(), strict=True))

    def write(file) -> None:
        with zipfile.ZipFile(file, "w") as archive:
            for place in find_pictures(arguments.data):
                synset = synsets.get(place.name)
                if place.name.startswith(arguments.prefix) and synset in labels:
                    folder = f"{synset}_{labels[synset]}"
                    archive.writestr(f"val/{folder}/{place.name}", place.read())

    write_atomically(arguments.out, write, force=True)


def number_of(path: str) -> str | None:
    """WordNet number at the start of a file name, `n01440764` for instance."""
    found = NUMBER.match(Path(path).name)
    return found and found.group()


if __name__ == "__main__":
    main()

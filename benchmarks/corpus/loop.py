"""The plain loop that engines are compared with: every picture of a folder of tar files, encoded.

python -m benchmarks.corpus.loop FOLDER
"""

import os
import sys
import tarfile
import tempfile
from pathlib import Path


def main() -> None:
    """Encode all pictures; those that fail are passed over."""
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    from promptcodec import Codec
    from promptcodec.errors import PromptCodecError

    codec = Codec.load(threads=1)
    with tempfile.TemporaryFile() as streams:
        for path in sorted(Path(sys.argv[1]).glob("*.tar")):
            with tarfile.open(path) as archive:
                for member in archive:
                    file = archive.extractfile(member)
                    if file is None or member.name.endswith(".cls"):
                        continue
                    try:
                        streams.write(codec.encode(file.read()))
                    except PromptCodecError:
                        continue


if __name__ == "__main__":
    main()

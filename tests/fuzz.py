"""Coverage-guided fuzzing of `skvae.load` by atheris, from files that skvae wrote."""

import sys
import tempfile
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["skvae", "json"]):
    import skvae
from conftest import SMALL
from reliability import images

folder = Path(tempfile.mkdtemp())
path = folder / "fuzzed"


def read(data):
    path.write_bytes(data)
    try:
        skvae.load(path)
    except skvae.InvalidFileError:
        return


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    corpus = Path(sys.argv[-1])
    skvae.ConvVAETransformer(**SMALL, max_iter=1).fit(images(20)).save(corpus / "model.skvae")
    some = {"missing_values": -1, "unlabeled": "", "priors": {"a": 0.3, "b": 0.7}}
    clf = skvae.ConvVAEClassifier(**SMALL, **some, max_iter=1)
    clf.fit(images(20).clip(1) - 2, ["a", "b", ""] * 6 + ["a", "b"]).save(corpus / "clf.skvae")
    # Many components in a small file, which must not ask for much more memory than it has bytes.
    # libFuzzer ends at 2 GB.
    wide = {**SMALL, "n_components": 1_000, "hidden_channels": (1,), "hidden_units": 1}
    skvae.ConvVAETransformer(**wide).partial_fit(images(20)).save(corpus / "wide.skvae")
    atheris.Setup(sys.argv, read)
    atheris.Fuzz()

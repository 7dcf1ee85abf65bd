"""Fit UMAP as it comes; write the codes of both sets of images beside them."""

from pathlib import Path
from time import perf_counter

import _worker
import numpy as np
import umap

args = _worker.arguments()
_worker.report(versions={"umap-learn": umap.__version__})
train, valid = (
    _worker.load(args, name).reshape(-1, 784).astype(np.float32) / 255
    for name in ("train", "valid")
)
start = perf_counter()
reducer = umap.UMAP(n_components=args.components)
train_codes = reducer.fit_transform(train)
fitted = perf_counter()
valid_codes = reducer.transform(valid)
seconds = {"fit_s": fitted - start, "transform_s": perf_counter() - fitted}
for name, codes in (("train", train_codes), ("valid", valid_codes)):
    np.save(Path(args.images) / f"{name}_codes.npy", codes)
_worker.report(**seconds)

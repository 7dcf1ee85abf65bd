"""Fit ConvVAETransformer for so many epochs; below one: on that share of the images, once."""

import _worker
import torch
from _torch_nets import numpy_passes, set_up

import skvae

args = _worker.arguments()
set_up(args)
_worker.report(versions={"skvae": skvae.__version__, "torch": torch.__version__})
train = _worker.load(args, "train")
train = train[: round(len(train) * min(1, args.epochs))]

watch = _worker.Stopwatch(args)
vae = skvae.ConvVAETransformer(
    args.components,
    max_iter=max(1, round(args.epochs)),
    batch_size=_worker.BATCH_SIZE,
    device="cpu",
    random_state=args.seed,
).fit(train)
module = vae.module_
watch.encode, watch.decode = numpy_passes(
    module, module.encode, lambda z: torch.sigmoid(module.decode(z))
)
watch.end_epoch()

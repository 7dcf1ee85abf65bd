"""Train the network of Keras' example by skorch, as its documentation shows an auto-encoder.

https://github.com/skorch-dev/skorch/blob/master/notebooks/Advanced_Usage.ipynb: a net with its
own `get_loss`, fitted on (X, X), with the default loader and the default callbacks.
"""

import _worker
import skorch
import torch
from _torch_nets import KerasExample, kl_divergence, numpy_passes, set_up


class AutoEncoder(skorch.NeuralNet):
    def get_loss(self, y_pred, y_true, *args, **kwargs):
        mean, mu, logvar = y_pred
        cross_entropy = super().get_loss(mean, y_true, *args, **kwargs)
        return (cross_entropy + kl_divergence(mu, logvar)) / len(mu)


class EndEpoch(skorch.callbacks.Callback):
    def on_epoch_end(self, net, **kwargs):
        watch.end_epoch()


args = _worker.arguments()
set_up(args)
_worker.report(versions={"skorch": skorch.__version__, "torch": torch.__version__})
train = _worker.load(args, "train")[:, None].astype("float32") / 255

watch = _worker.Stopwatch(args)
net = AutoEncoder(
    KerasExample,
    torch.nn.BCELoss,
    module__n_components=args.components,
    criterion__reduction="sum",
    optimizer=torch.optim.Adam,
    lr=1e-3,
    max_epochs=int(args.epochs),
    batch_size=_worker.BATCH_SIZE,
    iterator_train__shuffle=True,
    train_split=None,  # its default would set a fifth of the images aside
    callbacks=[EndEpoch()],
    verbose=0,
).initialize()
vae = net.module_
watch.encode, watch.decode = numpy_passes(vae, vae.encode, vae.decoder)
net.partial_fit(train, train)

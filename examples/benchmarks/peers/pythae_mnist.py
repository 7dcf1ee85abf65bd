"""Train pythae's VAE with its own convolutional nets for MNIST (``--net own``), or with skvae's.

Adam 1e-3, batches of 128, Bernoulli reconstruction loss; all else as the trainer comes.
"""

import tempfile
from importlib import metadata

import _worker
import torch
from _torch_nets import numpy_passes, set_up
from pythae.models import VAE, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.models.nn.benchmarks.mnist import Decoder_Conv_AE_MNIST, Encoder_Conv_VAE_MNIST
from pythae.pipelines import TrainingPipeline
from pythae.trainers import BaseTrainerConfig
from pythae.trainers.training_callbacks import TrainingCallback


class OurEncoder(BaseEncoder):
    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        mu, logvar = self.module.encode(x)
        return ModelOutput(embedding=mu, log_covariance=logvar)


class OurDecoder(BaseDecoder):
    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, z):
        return ModelOutput(reconstruction=torch.sigmoid(self.module.decode(z)))


class EndEpoch(TrainingCallback):
    def on_epoch_end(self, training_config, **kwargs):
        watch.end_epoch()


def nets(config, train):
    if args.net == "own":
        return Encoder_Conv_VAE_MNIST(config), Decoder_Conv_AE_MNIST(config)
    from skvae import ConvVAETransformer

    # One step of training, only to get the network that the library would choose.
    vae = ConvVAETransformer(args.components, max_iter=1, device="cpu", random_state=args.seed)
    module = vae.fit(train[: _worker.BATCH_SIZE]).module_
    return OurEncoder(module), OurDecoder(module)


args = _worker.arguments()
set_up(args)
_worker.report(versions={"pythae": metadata.version("pythae"), "torch": torch.__version__})
images = _worker.load(args, "train")
config = VAEConfig(input_dim=(1, 28, 28), latent_dim=args.components, reconstruction_loss="bce")
train = images[:, None].astype("float32") / 255

watch = _worker.Stopwatch(args)
vae = VAE(config, *nets(config, images))
watch.encode, watch.decode = numpy_passes(
    vae,
    lambda x: [vae.encoder(x)[name] for name in ("embedding", "log_covariance")],
    lambda z: vae.decoder(z)["reconstruction"],
)
with tempfile.TemporaryDirectory() as folder:
    training = BaseTrainerConfig(
        output_dir=folder,
        num_epochs=int(args.epochs),
        learning_rate=1e-3,
        per_device_train_batch_size=_worker.BATCH_SIZE,
        no_cuda=True,
    )
    TrainingPipeline(vae, training)(train, callbacks=[EndEpoch()])

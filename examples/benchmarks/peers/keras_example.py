"""Train the convolutional VAE of Keras' published example, on TensorFlow.

https://keras.io/examples/generative/vae/: two strided convolutions, a dense layer of 16, mirrored
by transposed convolutions; Adam as it comes, batches of 128.
"""

import _worker
import keras
import tensorflow as tf
from keras import layers, ops

args = _worker.arguments()
_worker.report(versions={"keras": keras.__version__, "tensorflow": tf.__version__})


class Sampling(layers.Layer):
    def __init__(self):
        super().__init__()
        self.seed_generator = keras.random.SeedGenerator(args.seed)

    def call(self, inputs):
        mu, logvar = inputs
        noise = keras.random.normal(ops.shape(mu), seed=self.seed_generator)
        return mu + ops.exp(0.5 * logvar) * noise


class VAE(keras.Model):
    def __init__(self, encoder, decoder):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.trackers = [keras.metrics.Mean(name) for name in ("loss", "reconstruction", "kl")]

    @property
    def metrics(self):
        return self.trackers

    def train_step(self, x):
        with tf.GradientTape() as tape:
            mu, logvar, z = self.encoder(x)
            cross_entropy = keras.losses.binary_crossentropy(x, self.decoder(z))  # (n, H, W)
            reconstruction = ops.mean(ops.sum(cross_entropy, axis=(1, 2)))
            kl = -0.5 * (1 + logvar - ops.square(mu) - ops.exp(logvar))
            kl = ops.mean(ops.sum(kl, axis=1))
            loss = reconstruction + kl
        gradients = tape.gradient(loss, self.trainable_weights)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        for tracker, value in zip(self.trackers, (loss, reconstruction, kl), strict=True):
            tracker.update_state(value)
        return {tracker.name: tracker.result() for tracker in self.trackers}


def build():
    picture = keras.Input((28, 28, 1))
    hidden = layers.Conv2D(32, 3, activation="relu", strides=2, padding="same")(picture)
    hidden = layers.Conv2D(64, 3, activation="relu", strides=2, padding="same")(hidden)
    hidden = layers.Dense(16, activation="relu")(layers.Flatten()(hidden))
    posterior = [layers.Dense(args.components)(hidden) for _ in range(2)]
    encoder = keras.Model(picture, [*posterior, Sampling()(posterior)])

    latents = keras.Input((args.components,))
    hidden = layers.Dense(7 * 7 * 64, activation="relu")(latents)
    hidden = layers.Reshape((7, 7, 64))(hidden)
    for channels in (64, 32):
        hidden = layers.Conv2DTranspose(channels, 3, activation="relu", strides=2, padding="same")(
            hidden
        )
    mean = layers.Conv2DTranspose(1, 3, activation="sigmoid", padding="same")(hidden)
    return VAE(encoder, keras.Model(latents, mean))


tf.config.threading.set_intra_op_parallelism_threads(args.threads)
keras.utils.set_random_seed(args.seed)
train = _worker.load(args, "train")[..., None].astype("float32") / 255

watch = _worker.Stopwatch(args)
vae = build()
watch.encode = lambda x: [part.numpy() for part in vae.encoder(x[..., None])[:2]]
watch.decode = lambda z: vae.decoder(z).numpy()
vae.compile(optimizer=keras.optimizers.Adam())
vae.fit(
    train,
    epochs=int(args.epochs),
    batch_size=_worker.BATCH_SIZE,
    callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=watch.end_epoch)],
    verbose=0,
)

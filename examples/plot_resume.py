"""
========================
Resume a killed training
========================

A long training may be killed, by a power failure or at the time limit of a batch job. With
``checkpoint="training.skvae"``, `fit` writes its progress to a file after each epoch. The next
`fit` with the same parameters and the same images continues from there. On a CPU, the result is
the same as that of a training that never stopped, to the last bit.
"""

# %%
# A training that never stops
# ---------------------------
# The resumed training must reach the same result.
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from _datasets import load
from skorch.callbacks import Callback

from skvae import ConvVAETransformer

digits = load("digits")
params = {"n_components": 10, "pixel_range": (0, 16), "max_iter": 30, "random_state": 0}
whole = ConvVAETransformer(**params).fit(digits.train_images)

# %%
# A training that is killed in its thirteenth epoch
# -------------------------------------------------
# A callback of skorch simulates a power failure. The estimator is lost, but the file is kept.


class PowerFailure(Callback):
    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 13:
            raise SystemExit("The power failed.")


folder = tempfile.TemporaryDirectory()
path = Path(folder.name, "training.skvae")
try:
    ConvVAETransformer(checkpoint=path, callbacks=[PowerFailure()], **params).fit(
        digits.train_images
    )
except SystemExit as error:
    print(f"{error} The checkpoint has {path.stat().st_size / 1e6:.1f} MB.")

# %%
# The same fit again
# ------------------
# It continues after the twelfth epoch.
resumed = ConvVAETransformer(checkpoint=path, **params).fit(digits.train_images)
folder.cleanup()

same_curve = resumed.loss_curve_ == whole.loss_curve_
same_components = np.array_equal(
    resumed.transform(digits.test_images), whole.transform(digits.test_images)
)
print(f"The same loss in every epoch, to the last bit: {same_curve}")
print(f"The same components of the test images, to the last bit: {same_components}")

# %%
# The two loss curves
# -------------------
fig, ax = plt.subplots(figsize=(7, 4.6), layout="constrained")
epochs = whole.history_["epoch"]
ax.plot(epochs, whole.loss_curve_, color="#ffcf80", linewidth=9, label="never stopped")
ax.plot(epochs[:12], resumed.loss_curve_[:12], "o-", color="#bd1f01", label="until it was killed")
ax.plot(epochs[12:], resumed.loss_curve_[12:], "s-", color="#3f90da", label="resumed from the file")
ax.axvline(12.5, color="0.3", linestyle="--")
ax.text(12.9, max(whole.loss_curve_), "killed here", va="top")
ax.set(xlabel="epoch", ylabel="\N{MINUS SIGN}ELBO of the training images, nats per image")
ax.set_title("A killed and resumed training, and one that never stopped")
ax.legend(frameon=False, loc="center right")
ax.spines[["top", "right"]].set_visible(False)
plt.show()

"""Train the VAE of pytorch/examples: dense layers 784-400-K and back, Adam 1e-3.

https://github.com/pytorch/examples/tree/main/vae. Its loader turns an image of Pillow into a tensor
for every image; here the pixels are a tensor from the start, which makes the peer faster.
"""

import _worker
import torch
from _torch_nets import kl_divergence, numpy_passes, set_up
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


class VAE(nn.Module):
    def __init__(self, n_components):
        super().__init__()
        self.hidden = nn.Linear(784, 400)
        self.mu_head = nn.Linear(400, n_components)
        self.logvar_head = nn.Linear(400, n_components)
        self.hidden_back = nn.Linear(n_components, 400)
        self.mean = nn.Linear(400, 784)

    def encode(self, x):
        hidden = F.relu(self.hidden(x.flatten(1)))
        return self.mu_head(hidden), self.logvar_head(hidden)

    def decode(self, z):
        return torch.sigmoid(self.mean(F.relu(self.hidden_back(z))))

    def forward(self, x):
        mu, logvar = self.encode(x)
        return self.decode(mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)), mu, logvar


args = _worker.arguments()
set_up(args)
_worker.report(versions={"torch": torch.__version__})
train = torch.from_numpy(_worker.load(args, "train"))[:, None].float() / 255

watch = _worker.Stopwatch(args)
vae = VAE(args.components)
watch.encode, watch.decode = numpy_passes(vae, vae.encode, vae.decode)
optimizer = torch.optim.Adam(vae.parameters(), lr=1e-3)
loader = DataLoader(TensorDataset(train), batch_size=_worker.BATCH_SIZE, shuffle=True)
for _ in range(int(args.epochs)):
    total = 0.0
    for (x,) in loader:
        optimizer.zero_grad()
        mean, mu, logvar = vae(x)
        loss = F.binary_cross_entropy(mean, x.flatten(1), reduction="sum")
        loss = loss + kl_divergence(mu, logvar)
        loss.backward()
        total += loss.item()
        optimizer.step()
    watch.end_epoch()

"""x"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.autograd import forward_ad
from torch.func import functional_call

from refusion.objectives import FusionWeights, GradientTerm, fusion_loss, reconstruction_loss

Average = Callable[[torch.Tensor], torch.Tensor]


def identity(vector: torch.Tensor) -> torch.Tensor:
    return vector


@dataclass
class Trajectory:
    parameters: list[torch.Tensor]
    fused: list[torch.Tensor]
    inner_losses: list[torch.Tensor]


def flat(tensors):
    return torch.cat([t.reshape(-1) for t in tensors])


def named(vector, module):
    ps = dict(module.named_parameters())
    parts = vector.split([p.numel() for p in ps.values()])
    return {n: part.view_as(p) for (n, p), part in zip(ps.items(), parts)}


def unroll(fusion, loss_proposal, meta_train, inner_rates, *, alpha=1.0, beta=1.0, gradient="learned", average=identity):
    theta = flat(p.detach() for p in fusion.parameters())
    tr = Trajectory([theta], [], [])
    for x, rate in zip(meta_train, inner_rates, strict=True):
        with torch.no_grad():
            weights = loss_proposal(x)
        leaf = theta.detach().requires_grad_()
        with torch.enable_grad():
            fused = functional_call(fusion, named(leaf, fusion), x)
            loss = fusion_loss(fused, x, weights, alpha, beta, gradient)
        (slope,) = torch.autograd.grad(loss, leaf)
        theta = theta - rate * average(slope)
        tr.parameters.append(theta); tr.fused.append(fused.detach()); tr.inner_losses.append(loss.detach())
        del fused, loss
    return tr


def meta_gradient_along(tr, fusion, P, R, meta_train, meta_test, inner_rates, *, targets=None, alpha=1.0, beta=1.0, gradient="learned", average=identity):
    leaf = tr.parameters[-1].detach().requires_grad_()
    Rp = {n: p.detach() for n, p in R.named_parameters()}
    outer = reconstruction_loss(functional_call(R, Rp, functional_call(fusion, named(leaf, fusion), meta_test)), meta_test if targets is None else targets)
    (lam,) = torch.autograd.grad(outer, leaf)
    outer = outer.detach()
    lam = average(lam)
    total = None
    for k in reversed(range(len(inner_rates))):
        x, rate = meta_train[k], inner_rates[k]
        with torch.no_grad(), forward_ad.dual_level():
            th = forward_ad.make_dual(tr.parameters[k], lam)
            u = forward_ad.unpack_dual(functional_call(fusion, named(th, fusion), x)).tangent
        pp = {n: p.detach().requires_grad_() for n, p in P.named_parameters()}
        weights = functional_call(P, pp, x)
        w = FusionWeights(*(None if t is None else t.detach().requires_grad_() for t in weights))
        f = tr.fused[k].detach().requires_grad_()
        (df,) = torch.autograd.grad(fusion_loss(f, x, w, alpha, beta, gradient), f, create_graph=True)
        ws = [t for t in w if t is not None]
        seeds = torch.autograd.grad((df * u).sum(), ws, allow_unused=True, materialize_grads=True)
        g = torch.autograd.grad([t for t in weights if t is not None], list(pp.values()), [-rate * s for s in seeds], allow_unused=True, materialize_grads=True)
        total = flat(g) if total is None else total + flat(g)
        assert k == 0
    return list(named(average(total), P).values()), outer


def meta_gradient(fusion, P, R, meta_train, meta_test, inner_rates, *, targets=None, **kw):
    tr = unroll(fusion, P, meta_train, inner_rates, **kw)
    return meta_gradient_along(tr, fusion, P, R, meta_train, meta_test, inner_rates, targets=targets, **kw)[0]

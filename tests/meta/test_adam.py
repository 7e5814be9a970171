from __future__ import annotations

import subprocess
import sys

import torch

from refusion.meta.adam import rated_adam, set_rate


def test_it_steps_resumes_and_clears_as_pytorchs_own_does() -> None:
    torch.manual_seed(0)
    ours = torch.nn.Linear(3, 2)
    theirs = torch.nn.Linear(3, 2)
    theirs.load_state_dict(ours.state_dict())
    adam, plain = rated_adam(ours.parameters()), torch.optim.Adam(theirs.parameters(), lr=0.1)
    given = torch.rand(5, 3)
    for turn in range(4):
        if turn == 2:
            state = adam.state_dict()
            adam = rated_adam(ours.parameters())
            adam.load_state_dict(state)
        for module, one in ((ours, adam), (theirs, plain)):
            one.zero_grad()
            module(given).square().sum().backward()
        set_rate(adam, 0.1)
        adam.step()
        plain.step()
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    assert not ours.weight.grad_fn and ours.weight.requires_grad


def test_it_leaves_pytorchs_compiler_out() -> None:
    """Each process that trains would take two seconds longer to begin."""
    code = "import sys, torch; from refusion.meta.adam import rated_adam; module = torch.nn.Linear(1, 1); "
    code += "adam = rated_adam(module.parameters()); adam.zero_grad(); module(torch.ones(1)).backward(); adam.step(); "
    code += "adam.load_state_dict(adam.state_dict()); print('torch._dynamo' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "False"), done.stderr

"""Differentiable operations that know no network: the building blocks of networks, and how they run.

Maps are channels last, (B, H, W, C). All operations are differentiable to second order: backward and backward, or
forward (by `autodiff.jvp`) and backward.
"""

from refusion.ops.backend import Backend, configure
from refusion.ops.convolutions import conv3x3, depthwise_conv, pointwise_conv, to_channels_first, to_channels_last
from refusion.ops.feed_forward import gated_feed_forward
from refusion.ops.geglu import geglu
from refusion.ops.layer_norm import layer_norm
from refusion.ops.sublayers import channel_attention, channel_cross_attention

__all__ = [
    "Backend",
    "channel_attention",
    "channel_cross_attention",
    "configure",
    "conv3x3",
    "depthwise_conv",
    "gated_feed_forward",
    "geglu",
    "layer_norm",
    "pointwise_conv",
    "to_channels_first",
    "to_channels_last",
]

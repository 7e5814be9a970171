"""Meta-training: the exact meta-gradient, and the three phases that use it. Knows nothing of Ray, MLflow or files."""

from refusion.meta.by_autograd import meta_gradient_by_autograd
from refusion.meta.metagradient import meta_gradient

__all__ = ["meta_gradient", "meta_gradient_by_autograd"]

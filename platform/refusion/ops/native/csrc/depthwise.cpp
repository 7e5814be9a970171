// Separable convolutions of two kinds, row by row, so that no map wider than a few rows ever exists:
//
//   gated (N > 0):  out = x + projection · (gelu(gate) · value), gate and value = depthwise(pointwise(layer_norm(x)))
//   plain (N = 0):  out = depthwise(pointwise(layer_norm(x)))
//
// Either as it is, or (TANGENT) with the tangent of everything beside it. The backward passes compute again what they
// need. Each thread takes some rows of the images, and computes for itself the row or two beyond them that it needs.

// A thread's rows of one image, and the intermediate rows.
template <bool TANGENT>
class Worker {
 public:
  Worker(const Sizes& size, const Inputs& in, const Inputs& tangent, const Matrices& by, const Matrices& dby)
      : size(size), in(in), tangent(tangent), by(by), dby(dby), W(size.width), C(size.channels), M(size.wide),
        N(size.gates), has_norm(in.weight != nullptr) {
    zeros.assign(W * M, 0.0f);
    for (auto* rows : {&wide, &dwide}) rows->size(W * M);
    for (auto* rows : {&source, &dsource, &scaled}) rows->size(W * C);
    rstd.size(W);
    for (auto* row : {&both, &dboth, &wide_grads, &wide_tangent_grads}) row->assign(W * M, 0.0f);
    for (auto* row : {&product, &dproduct, &grad_product, &grad_dproduct}) row->assign(W * N, 0.0f);
  }

  void forward(int64_t image, int64_t top, int64_t bottom, float* out, float* dout) {
    for (int64_t row = top - 1; row <= bottom; row++) {
      compute(image, row);
      const int64_t here = row - 1;
      if (here < top) continue;
      const int64_t at = (image * size.height + here) * W;
      if (!N) {
        convolved(here, out + at * M, dout + at * M);
        continue;
      }
      convolved(here, both.data(), dboth.data());
      float *to = out + at * C, *dto = dout + at * C;
      std::memcpy(to, in.x + at * C, 4 * W * C);
      if (TANGENT) {
        std::memcpy(dto, tangent.x + at * C, 4 * W * C);
        geglu_jvp(both.data(), dboth.data(), product.data(), dproduct.data(), W, N);
        pointwise_conv(dproduct.data(), by.projection.data(), dto, W, N, C, true);
        pointwise_conv(product.data(), dby.projection.data(), dto, W, N, C, true);
      } else {
        geglu(both.data(), product.data(), W, N);
      }
      pointwise_conv(product.data(), by.projection.data(), to, W, N, C, true);
    }
  }

  // Gradients in x are written, those in parameters added up in `total`, in the layouts of `Matrices`.
  void backward(int64_t image, int64_t top, int64_t bottom, const float* grad, const float* tangent_grad, Grads into,
                float* into_tangent, Grads* total) {
    for (int64_t row = top - 2; row <= bottom + 1; row++) {
      compute(image, row);
      const int64_t middle = row - 1, last = row - 2;
      if (middle >= top - 1)
        to_wide_grads(image, middle, grad, tangent_grad, middle >= top && middle < bottom ? total : nullptr);
      if (last >= top && last < bottom) to_x_grads(image, last, grad, tangent_grad, into, into_tangent, total);
    }
  }

 private:
  bool inside(int64_t row) const { return row >= 0 && row < size.height; }

  void compute(int64_t image, int64_t row) {
    if (!inside(row)) return;
    const int64_t at = (image * size.height + row) * W * C;
    const float *x = in.x + at, *dx = TANGENT ? tangent.x + at : nullptr;
    float *u = source.at(row), *du = dsource.at(row);
    if (has_norm) {
      layer_norm(x, {in.weight, in.bias}, {scaled.at(row), rstd.at(row)}, u, W, C);
      if (TANGENT) layer_norm_jvp(dx, saved(row), {in.weight, in.bias}, {tangent.weight, tangent.bias}, du, W, C);
    } else {
      std::memcpy(u, x, 4 * W * C);
      if (TANGENT) std::memcpy(du, dx, 4 * W * C);
    }
    pointwise_conv(u, by.pointwise.data(), wide.at(row), W, C, M, false);
    if (TANGENT) {
      pointwise_conv(du, by.pointwise.data(), dwide.at(row), W, C, M, false);
      pointwise_conv(u, dby.pointwise.data(), dwide.at(row), W, C, M, true);
    }
  }

  SavedNorm saved(int64_t row) { return {scaled.at(row), rstd.at(row)}; }

  const float* row_of(Rows& rows, int64_t row) { return inside(row) ? rows.at(row) : zeros.data(); }

  ThreeRows around(Rows& rows, int64_t row) {
    return {row_of(rows, row - 1), row_of(rows, row), row_of(rows, row + 1)};
  }

  void convolved(int64_t row, float* out, float* dout) {
    depthwise_conv(around(wide, row), by.depthwise.data(), out, W, M, false);
    if (TANGENT) {
      depthwise_conv(around(dwide, row), by.depthwise.data(), dout, W, M, false);
      depthwise_conv(around(wide, row), dby.depthwise.data(), dout, W, M, true);
    }
  }

  // From the gradient in the result's row to that in the depthwise convolution's.
  void to_wide_grads(int64_t image, int64_t row, const float* grad, const float* tangent_grad, Grads* total) {
    if (!inside(row)) return;
    const int64_t at = (image * size.height + row) * W;
    float *to = convolved_grads.at(row), *dto = convolved_tangent_grads.at(row);
    if (!N) {
      std::memcpy(to, grad + at * M, 4 * W * M);
      if (TANGENT) std::memcpy(dto, tangent_grad + at * M, 4 * W * M);
    } else {
      const float *here = grad + at * C, *there = TANGENT ? tangent_grad + at * C : nullptr;
      convolved(row, both.data(), dboth.data());
      pointwise_conv(here, by.projection_back.data(), grad_product.data(), W, C, N, false);
      if (TANGENT) {
        pointwise_conv(there, dby.projection_back.data(), grad_product.data(), W, C, N, true);
        pointwise_conv(there, by.projection_back.data(), grad_dproduct.data(), W, C, N, false);
        geglu_vjp_of_jvp(both.data(), dboth.data(), grad_product.data(), grad_dproduct.data(), product.data(),
                         dproduct.data(), to, dto, W, N);
      } else {
        geglu_vjp(both.data(), grad_product.data(), product.data(), to, W, N);
      }
      if (total) {
        add_pointwise_weight_grad(product.data(), here, total->projection, W, N, C);
        if (TANGENT) add_pointwise_weight_grad(dproduct.data(), there, total->projection, W, N, C);
      }
    }
    if (total) {
      add_depthwise_weight_grad(around(wide, row), to, total->depthwise, W, M);
      if (TANGENT) add_depthwise_weight_grad(around(dwide, row), dto, total->depthwise, W, M);
    }
  }

  // From there to the gradient in x.
  void to_x_grads(int64_t image, int64_t row, const float* grad, const float* tangent_grad, Grads into,
                  float* into_tangent, Grads* total) {
    const int64_t at = (image * size.height + row) * W * C;
    float *grad_x = into.x + at, *grad_dx = TANGENT ? into_tangent + at : nullptr;
    depthwise_conv(around(convolved_grads, row), by.depthwise_back.data(), wide_grads.data(), W, M, false);
    if (TANGENT) {
      depthwise_conv(around(convolved_tangent_grads, row), dby.depthwise_back.data(), wide_grads.data(), W, M, true);
      depthwise_conv(around(convolved_tangent_grads, row), by.depthwise_back.data(), wide_tangent_grads.data(), W, M,
                     false);
    }
    if (total) {
      add_pointwise_weight_grad(source.at(row), wide_grads.data(), total->pointwise, W, C, M);
      if (TANGENT) add_pointwise_weight_grad(dsource.at(row), wide_tangent_grads.data(), total->pointwise, W, C, M);
    }
    pointwise_conv(wide_grads.data(), by.pointwise_back.data(), grad_x, W, M, C, false);
    if (TANGENT) {
      pointwise_conv(wide_tangent_grads.data(), dby.pointwise_back.data(), grad_x, W, M, C, true);
      pointwise_conv(wide_tangent_grads.data(), by.pointwise_back.data(), grad_dx, W, M, C, false);
    }
    if (has_norm) {
      const NormParameters parameters = {in.weight, in.bias};
      if (TANGENT)
        layer_norm_vjp_of_jvp(grad_x, grad_dx, tangent.x + at, saved(row), parameters, {tangent.weight, tangent.bias},
                              grad_x, grad_dx, norm_weight_grad.data(), norm_bias_grad.data(), W, C);
      else
        layer_norm_vjp(grad_x, saved(row), parameters, grad_x, norm_weight_grad.data(), norm_bias_grad.data(), W, C);
    }
    if (N) {
      add_to(grad_x, grad + at, W * C);
      if (TANGENT) add_to(grad_dx, tangent_grad + at, W * C);
    }
  }

  const Sizes& size;
  const Inputs &in, &tangent;
  const Matrices &by, &dby;
  const int W, C, M, N;
  const bool has_norm;
  std::vector<float> zeros, both, dboth, wide_grads, wide_tangent_grads, product, dproduct, grad_product, grad_dproduct;
  Rows wide, dwide, source, dsource, scaled, rstd, convolved_grads, convolved_tangent_grads;

 public:
  std::vector<float> norm_weight_grad, norm_bias_grad;

  void prepare_backward() {
    for (auto* rows : {&convolved_grads, &convolved_tangent_grads}) rows->size(W * M);
    for (auto* row : {&norm_weight_grad, &norm_bias_grad}) row->assign(C, 0.0f);
  }
};

template <bool TANGENT>
static void run_forward(const Sizes& size, const Inputs& in, const Inputs& tangent, float* out, float* dout,
                        int threads) {
  const Matrices by = matrices_of(in, size), dby = TANGENT ? matrices_of(tangent, size) : Matrices{};
#pragma omp parallel num_threads(threads)
  {
    Worker<TANGENT> worker(size, in, tangent, by, dby);
    each_image(size, [&](int64_t image, int64_t top, int64_t bottom) {
      worker.forward(image, top, bottom, out, dout);
    });
  }
}

template <bool TANGENT>
static void run_backward(const Sizes& size, const Inputs& in, const Inputs& tangent, const float* grad,
                         const float* tangent_grad, const Grads& into, float* into_tangent, int threads) {
  const Matrices by = matrices_of(in, size), dby = TANGENT ? matrices_of(tangent, size) : Matrices{};
  const int64_t C = size.channels, M = size.wide, N = size.gates;
  const bool parameters_need_grad = into.pointwise != nullptr;
  const int64_t pointwise = 0, depthwise = pointwise + C * M, projection = depthwise + 9 * M,
                weight = projection + N * C, bias = weight + C, count = bias + C;
  std::vector<float> totals(threads * count, 0.0f);
#pragma omp parallel num_threads(threads)
  {
    float* own = totals.data() + omp_get_thread_num() * count;
    Grads total = {nullptr, nullptr, nullptr, own + pointwise, own + depthwise, own + projection};
    Worker<TANGENT> worker(size, in, tangent, by, dby);
    worker.prepare_backward();
    each_image(size, [&](int64_t image, int64_t top, int64_t bottom) {
      worker.backward(image, top, bottom, grad, tangent_grad, into, into_tangent,
                      parameters_need_grad ? &total : nullptr);
    });
    std::memcpy(own + weight, worker.norm_weight_grad.data(), 4 * C);
    std::memcpy(own + bias, worker.norm_bias_grad.data(), 4 * C);
  }
  if (!parameters_need_grad) return;
  // In the threads' order, so that the same number of threads gives the same sums.
  for (int thread = 1; thread < threads; thread++)
    for (int64_t i = 0; i < count; i++) totals[i] += totals[thread * count + i];
  const float* sum = totals.data();
  for (int64_t m = 0; m < M; m++) {
    for (int64_t c = 0; c < C; c++) into.pointwise[m * C + c] = sum[pointwise + c * M + m];
    for (int64_t tap = 0; tap < 9; tap++) into.depthwise[m * 9 + tap] = sum[depthwise + tap * M + m];
  }
  for (int64_t c = 0; c < C; c++)
    for (int64_t n = 0; n < N; n++) into.projection[c * N + n] = sum[projection + n * C + c];
  if (in.weight) {
    std::memcpy(into.weight, sum + weight, 4 * C);
    std::memcpy(into.bias, sum + bias, 4 * C);
  }
}

extern "C" void separable_conv(const Sizes* size, const Inputs* in, float* out, int64_t threads) {
  run_forward<false>(*size, *in, *in, out, out, threads);
}

extern "C" void separable_conv_jvp(const Sizes* size, const Inputs* in, const Inputs* tangent, float* out, float* dout,
                                   int64_t threads) {
  run_forward<true>(*size, *in, *tangent, out, dout, threads);
}

extern "C" void separable_conv_vjp(const Sizes* size, const Inputs* in, const float* grad, const Grads* into,
                                   int64_t threads) {
  run_backward<false>(*size, *in, *in, grad, grad, *into, nullptr, threads);
}

extern "C" void separable_conv_vjp_of_jvp(const Sizes* size, const Inputs* in, const Inputs* tangent, const float* grad,
                                          const float* tangent_grad, const Grads* into, float* into_tangent,
                                          int64_t threads) {
  run_backward<true>(*size, *in, *tangent, grad, tangent_grad, *into, into_tangent, threads);
}

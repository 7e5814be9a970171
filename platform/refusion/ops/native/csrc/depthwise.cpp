// Two kinds of part, row by row, so that no map wider than a few rows ever exists:
//
//   gated (N > 0):  out = x + project · (gelu(gate) · value), with gate and value = filter(widen · norm(x))
//   plain (N = 0):  out = filter(widen · norm(x))
//
// Either as it is, or (MOVING) with the change of everything beside it. The backward passes make what they need again.
// Each thread takes some rows of the images, and makes the row or two beyond them that it needs for itself.

struct Sizes {
  int64_t images, height, width, channels, wide, gated;
};

// As they are given: x (images, height, width, channels); weight, bias (channels) or null without a norm; widen
// (wide, channels); kernels (wide, 9); project (channels, gated) or null.
struct Inputs {
  const float *x, *weight, *bias, *widen, *kernels, *project;
};

struct Slopes {
  float *x, *weight, *bias, *widen, *kernels, *project;
};

struct Matrices {
  std::vector<float> widen, widen_back, kernels, kernels_back, project, project_back;
};

static void turned(const float* from, std::vector<float>& to, int64_t rows, int64_t columns) {
  to.resize(rows * columns);
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j < columns; j++) to[j * rows + i] = from[i * columns + j];
}

static Matrices matrices_of(const Inputs& in, const Sizes& size) {
  Matrices made;
  turned(in.widen, made.widen, size.wide, size.channels);
  made.widen_back.assign(in.widen, in.widen + size.wide * size.channels);
  turned(in.kernels, made.kernels, size.wide, 9);
  made.kernels_back.resize(9 * size.wide);
  for (int tap = 0; tap < 9; tap++)
    std::memcpy(&made.kernels_back[tap * size.wide], &made.kernels[(8 - tap) * size.wide], 4 * size.wide);
  if (size.gated) {
    turned(in.project, made.project, size.channels, size.gated);
    made.project_back.assign(in.project, in.project + size.channels * size.gated);
  }
  return made;
}

// The last three rows of a map.
class Rows {
 public:
  void size(int64_t row) { length = row, values.assign(3 * row, 0.0f); }
  float* at(int64_t row) { return values.data() + (row + 3) % 3 * length; }

 private:
  int64_t length = 0;
  std::vector<float> values;
};

// A thread's rows of one image, and what it makes on the way.
template <bool MOVING>
class Worker {
 public:
  Worker(const Sizes& size, const Inputs& in, const Inputs& change, const Matrices& by, const Matrices& dby)
      : size(size), in(in), change(change), by(by), dby(dby), W(size.width), C(size.channels), M(size.wide),
        N(size.gated), normed(in.weight != nullptr) {
    zeros.assign(W * M, 0.0f);
    for (auto* rows : {&wide, &dwide}) rows->size(W * M);
    for (auto* rows : {&source, &dsource, &scaled}) rows->size(W * C);
    rstd.size(W);
    for (auto* row : {&both, &dboth, &slopes, &dslopes}) row->assign(W * M, 0.0f);
    for (auto* row : {&product, &dproduct, &of_product, &of_dproduct}) row->assign(W * N, 0.0f);
  }

  void forward(int64_t image, int64_t top, int64_t bottom, float* out, float* dout) {
    for (int64_t row = top - 1; row <= bottom; row++) {
      make(image, row);
      const int64_t here = row - 1;
      if (here < top) continue;
      const int64_t at = (image * size.height + here) * W;
      if (!N) {
        filtered(here, out + at * M, dout + at * M);
        continue;
      }
      filtered(here, both.data(), dboth.data());
      float *to = out + at * C, *dto = dout + at * C;
      std::memcpy(to, in.x + at * C, 4 * W * C);
      if (MOVING) {
        std::memcpy(dto, change.x + at * C, 4 * W * C);
        gated_change(both.data(), dboth.data(), product.data(), dproduct.data(), W, N);
        mix(dproduct.data(), by.project.data(), dto, W, N, C, true);
        mix(product.data(), dby.project.data(), dto, W, N, C, true);
      } else {
        gated(both.data(), product.data(), W, N);
      }
      mix(product.data(), by.project.data(), to, W, N, C, true);
    }
  }

  // Slopes in x are written, those in parameters added up in `total`, in the layouts of `Matrices`.
  void backward(int64_t image, int64_t top, int64_t bottom, const float* slope, const float* dslope, Slopes into,
                float* into_change, Slopes* total) {
    for (int64_t row = top - 2; row <= bottom + 1; row++) {
      make(image, row);
      const int64_t middle = row - 1, last = row - 2;
      if (middle >= top - 1) unfilter(image, middle, slope, dslope, middle >= top && middle < bottom ? total : nullptr);
      if (last >= top && last < bottom) unmix(image, last, slope, dslope, into, into_change, total);
    }
  }

 private:
  bool inside(int64_t row) const { return row >= 0 && row < size.height; }

  void make(int64_t image, int64_t row) {
    if (!inside(row)) return;
    const int64_t at = (image * size.height + row) * W * C;
    const float *x = in.x + at, *dx = MOVING ? change.x + at : nullptr;
    float *u = source.at(row), *du = dsource.at(row);
    if (normed) {
      norm(x, {in.weight, in.bias}, {scaled.at(row), rstd.at(row)}, u, W, C);
      if (MOVING) norm_change(dx, made(row), {in.weight, in.bias}, {change.weight, change.bias}, du, W, C);
    } else {
      std::memcpy(u, x, 4 * W * C);
      if (MOVING) std::memcpy(du, dx, 4 * W * C);
    }
    mix(u, by.widen.data(), wide.at(row), W, C, M, false);
    if (MOVING) {
      mix(du, by.widen.data(), dwide.at(row), W, C, M, false);
      mix(u, dby.widen.data(), dwide.at(row), W, C, M, true);
    }
  }

  NormRow made(int64_t row) { return {scaled.at(row), rstd.at(row)}; }

  const float* row_of(Rows& rows, int64_t row) { return inside(row) ? rows.at(row) : zeros.data(); }

  ThreeRows around(Rows& rows, int64_t row) {
    return {row_of(rows, row - 1), row_of(rows, row), row_of(rows, row + 1)};
  }

  void filtered(int64_t row, float* out, float* dout) {
    filter(around(wide, row), by.kernels.data(), out, W, M, false);
    if (MOVING) {
      filter(around(dwide, row), by.kernels.data(), dout, W, M, false);
      filter(around(wide, row), dby.kernels.data(), dout, W, M, true);
    }
  }

  // From the slope in the result's row to that in the filtered map's.
  void unfilter(int64_t image, int64_t row, const float* slope, const float* dslope, Slopes* total) {
    if (!inside(row)) return;
    const int64_t at = (image * size.height + row) * W;
    float *to = filtered_slopes.at(row), *dto = filtered_dslopes.at(row);
    if (!N) {
      std::memcpy(to, slope + at * M, 4 * W * M);
      if (MOVING) std::memcpy(dto, dslope + at * M, 4 * W * M);
    } else {
      const float *here = slope + at * C, *there = MOVING ? dslope + at * C : nullptr;
      filtered(row, both.data(), dboth.data());
      mix(here, by.project_back.data(), of_product.data(), W, C, N, false);
      if (MOVING) {
        mix(there, dby.project_back.data(), of_product.data(), W, C, N, true);
        mix(there, by.project_back.data(), of_dproduct.data(), W, C, N, false);
        gated_slopes(both.data(), dboth.data(), of_product.data(), of_dproduct.data(), product.data(), dproduct.data(),
                     to, dto, W, N);
      } else {
        gated_slope(both.data(), of_product.data(), product.data(), to, W, N);
      }
      if (total) {
        add_slope_of_mix(product.data(), here, total->project, W, N, C);
        if (MOVING) add_slope_of_mix(dproduct.data(), there, total->project, W, N, C);
      }
    }
    if (total) {
      add_slope_of_filter(around(wide, row), to, total->kernels, W, M);
      if (MOVING) add_slope_of_filter(around(dwide, row), dto, total->kernels, W, M);
    }
  }

  // From there to the slope in x.
  void unmix(int64_t image, int64_t row, const float* slope, const float* dslope, Slopes into, float* into_change,
             Slopes* total) {
    const int64_t at = (image * size.height + row) * W * C;
    float *of_x = into.x + at, *of_dx = MOVING ? into_change + at : nullptr;
    filter(around(filtered_slopes, row), by.kernels_back.data(), slopes.data(), W, M, false);
    if (MOVING) {
      filter(around(filtered_dslopes, row), dby.kernels_back.data(), slopes.data(), W, M, true);
      filter(around(filtered_dslopes, row), by.kernels_back.data(), dslopes.data(), W, M, false);
    }
    if (total) {
      add_slope_of_mix(source.at(row), slopes.data(), total->widen, W, C, M);
      if (MOVING) add_slope_of_mix(dsource.at(row), dslopes.data(), total->widen, W, C, M);
    }
    mix(slopes.data(), by.widen_back.data(), of_x, W, M, C, false);
    if (MOVING) {
      mix(dslopes.data(), dby.widen_back.data(), of_x, W, M, C, true);
      mix(dslopes.data(), by.widen_back.data(), of_dx, W, M, C, false);
    }
    if (normed) {
      const NormParameters parameters = {in.weight, in.bias};
      if (MOVING)
        norm_slopes(of_x, of_dx, change.x + at, made(row), parameters, {change.weight, change.bias}, of_x, of_dx,
                    norm_slope_weight.data(), norm_slope_bias.data(), W, C);
      else
        norm_slope(of_x, made(row), parameters, of_x, norm_slope_weight.data(), norm_slope_bias.data(), W, C);
    }
    if (N) {
      add_to(of_x, slope + at, W * C);
      if (MOVING) add_to(of_dx, dslope + at, W * C);
    }
  }

  const Sizes& size;
  const Inputs &in, &change;
  const Matrices &by, &dby;
  const int W, C, M, N;
  const bool normed;
  std::vector<float> zeros, both, dboth, slopes, dslopes, product, dproduct, of_product, of_dproduct;
  Rows wide, dwide, source, dsource, scaled, rstd, filtered_slopes, filtered_dslopes;

 public:
  std::vector<float> norm_slope_weight, norm_slope_bias;

  void prepare_backward() {
    for (auto* rows : {&filtered_slopes, &filtered_dslopes}) rows->size(W * M);
    for (auto* row : {&norm_slope_weight, &norm_slope_bias}) row->assign(C, 0.0f);
  }
};

// Calls work(image, top, bottom) for each image of which this thread has some in its share of all rows.
template <typename Work>
static void each_image(const Sizes& size, Work work) {
  const int64_t thread = omp_get_thread_num(), threads = omp_get_num_threads();
  const int64_t rows = size.images * size.height, end = rows * (thread + 1) / threads;
  for (int64_t row = rows * thread / threads; row < end;) {
    const int64_t image = row / size.height, first = image * size.height;
    const int64_t stop = end < first + size.height ? end : first + size.height;
    work(image, row - first, stop - first);
    row = stop;
  }
}

template <bool MOVING>
static void run_forward(const Sizes& size, const Inputs& in, const Inputs& change, float* out, float* dout,
                        int threads) {
  const Matrices by = matrices_of(in, size), dby = MOVING ? matrices_of(change, size) : Matrices{};
#pragma omp parallel num_threads(threads)
  {
    Worker<MOVING> worker(size, in, change, by, dby);
    each_image(size, [&](int64_t image, int64_t top, int64_t bottom) {
      worker.forward(image, top, bottom, out, dout);
    });
  }
}

template <bool MOVING>
static void run_backward(const Sizes& size, const Inputs& in, const Inputs& change, const float* slope,
                         const float* dslope, const Slopes& into, float* into_change, int threads) {
  const Matrices by = matrices_of(in, size), dby = MOVING ? matrices_of(change, size) : Matrices{};
  const int64_t C = size.channels, M = size.wide, N = size.gated;
  const bool parameters_too = into.widen != nullptr;
  const int64_t widen = 0, kernels = widen + C * M, project = kernels + 9 * M, weight = project + N * C,
                bias = weight + C, count = bias + C;
  std::vector<float> totals(threads * count, 0.0f);
#pragma omp parallel num_threads(threads)
  {
    float* own = totals.data() + omp_get_thread_num() * count;
    Slopes total = {nullptr, nullptr, nullptr, own + widen, own + kernels, own + project};
    Worker<MOVING> worker(size, in, change, by, dby);
    worker.prepare_backward();
    each_image(size, [&](int64_t image, int64_t top, int64_t bottom) {
      worker.backward(image, top, bottom, slope, dslope, into, into_change, parameters_too ? &total : nullptr);
    });
    std::memcpy(own + weight, worker.norm_slope_weight.data(), 4 * C);
    std::memcpy(own + bias, worker.norm_slope_bias.data(), 4 * C);
  }
  if (!parameters_too) return;
  // In the threads' order, so that the same number of threads gives the same sums.
  for (int thread = 1; thread < threads; thread++)
    for (int64_t i = 0; i < count; i++) totals[i] += totals[thread * count + i];
  const float* all_of = totals.data();
  for (int64_t m = 0; m < M; m++) {
    for (int64_t c = 0; c < C; c++) into.widen[m * C + c] = all_of[widen + c * M + m];
    for (int64_t tap = 0; tap < 9; tap++) into.kernels[m * 9 + tap] = all_of[kernels + tap * M + m];
  }
  for (int64_t c = 0; c < C; c++)
    for (int64_t n = 0; n < N; n++) into.project[c * N + n] = all_of[project + n * C + c];
  if (in.weight) {
    std::memcpy(into.weight, all_of + weight, 4 * C);
    std::memcpy(into.bias, all_of + bias, 4 * C);
  }
}

extern "C" void part_forward(const Sizes* size, const Inputs* in, float* out, int64_t threads) {
  run_forward<false>(*size, *in, *in, out, out, threads);
}

extern "C" void part_change(const Sizes* size, const Inputs* in, const Inputs* change, float* out, float* dout,
                            int64_t threads) {
  run_forward<true>(*size, *in, *change, out, dout, threads);
}

extern "C" void part_backward(const Sizes* size, const Inputs* in, const float* slope, const Slopes* into,
                              int64_t threads) {
  run_backward<false>(*size, *in, *in, slope, slope, *into, nullptr, threads);
}

extern "C" void part_change_backward(const Sizes* size, const Inputs* in, const Inputs* change, const float* slope,
                                     const float* dslope, const Slopes* into, float* into_change, int64_t threads) {
  run_backward<true>(*size, *in, *change, slope, dslope, *into, into_change, threads);
}

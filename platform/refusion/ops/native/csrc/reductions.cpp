// Weighted sums of maps, with factors of each image's own, and reductions over an image's pixels: what attention
// computes from q, k and v.

// channels of the pixels of images; a view into wider maps.
struct View {
  float* data;
  int64_t image_stride, pixel_stride, channels;
};

// A view and a factor: a matrix (images, channels of the view, channels of the result), a scale (images, channels), or
// nothing, which is one.
struct Term {
  View x;
  const float* factor;
};

struct Pair {
  View x, y;
};

// Pixels that are worked on together: few enough to stay in the nearest cache.
constexpr int64_t BATCH = 96;

// Calls work(image, first, count) for each batch of the share that this thread has of all pixels.
template <typename Work>
static void each_batch(int64_t images, int64_t pixels, Work work) {
  const int64_t thread = omp_get_thread_num(), threads = omp_get_num_threads();
  const int64_t total = images * pixels, end = total * (thread + 1) / threads;
  for (int64_t pixel = total * thread / threads; pixel < end;) {
    const int64_t image = pixel / pixels, first = pixel - image * pixels;
    int64_t count = pixels - first < BATCH ? pixels - first : BATCH;
    count = end - pixel < count ? end - pixel : count;
    work(image, first, count);
    pixel += count;
  }
}

ALWAYS float* place(const View& view, int64_t image, int64_t pixel) {
  return view.data + image * view.image_stride + pixel * view.pixel_stride;
}

// out = the scaled views, and those that are multiplied by their matrices, added up.
extern "C" void weighted_sum(int64_t images, int64_t pixels, const View* out, const Term* scaled, int64_t scales,
                             const Term* projected, int64_t projections, int64_t threads) {
  const int64_t C = out->channels;
#pragma omp parallel num_threads(threads)
  each_batch(images, pixels, [&](int64_t image, int64_t first, int64_t count) {
    float* to = place(*out, image, first);
    for (int64_t s = 0; s < scales; s++) {
      const float *from = place(scaled[s].x, image, first), *factor = scaled[s].factor;
      for (int64_t p = 0; p < count; p++)
        for (int64_t c = 0; c < C; c += LANES) {
          Vec here = load(from + p * scaled[s].x.pixel_stride + c);
          if (factor) here *= load(factor + image * C + c);
          float* there = to + p * out->pixel_stride + c;
          store(there, s ? load(there) + here : here);
        }
    }
    for (int64_t m = 0; m < projections; m++) {
      const View& x = projected[m].x;
      pointwise_conv_strided(place(x, image, first), x.pixel_stride, projected[m].factor + image * x.channels * C, to,
                             out->pixel_stride, count, x.channels, C, scales || m);
    }
  });
}

// Adds partial sums of floats up in double precision: a picture has many batches.
template <typename Batch>
static void sums_of(int64_t images, int64_t pixels, int64_t length, float* out, int64_t threads, Batch batch) {
  std::vector<double> totals(threads * images * length, 0.0);
#pragma omp parallel num_threads(threads)
  {
    double* own = totals.data() + omp_get_thread_num() * images * length;
    std::vector<float> sums(length);
    each_batch(images, pixels, [&](int64_t image, int64_t first, int64_t count) {
      sums.assign(length, 0.0f);
      batch(sums.data(), image, first, count);
      for (int64_t i = 0; i < length; i++) own[image * length + i] += sums[i];
    });
  }
  for (int64_t i = 0; i < images * length; i++) {
    double total = 0;
    for (int64_t thread = 0; thread < threads; thread++) total += totals[thread * images * length + i];
    out[i] = static_cast<float>(total);
  }
}

// out (images, channels of x, channels of y) = the pairs' Gram matrices, summed over pixels and pairs.
extern "C" void gram(int64_t images, int64_t pixels, const Pair* pairs, int64_t count_of_pairs, float* out,
                     int64_t threads) {
  const int64_t inputs = pairs->x.channels, outputs = pairs->y.channels;
  const auto batch = [&](float* sums, int64_t image, int64_t first, int64_t count) {
    for (const Pair* pair = pairs; pair < pairs + count_of_pairs; pair++)
      add_gram(place(pair->x, image, first), pair->x.pixel_stride, place(pair->y, image, first),
               pair->y.pixel_stride, sums, count, inputs, outputs);
  };
  sums_of(images, pixels, inputs * outputs, out, threads, batch);
}

// out (images, channels) = each channel of x times the same of y, summed over the pixels.
extern "C" void channel_dots(int64_t images, int64_t pixels, const Pair* pair, float* out, int64_t threads) {
  const int64_t C = pair->x.channels;
  sums_of(images, pixels, C, out, threads, [&](float* sums, int64_t image, int64_t first, int64_t count) {
    const float *x = place(pair->x, image, first), *y = place(pair->y, image, first);
    for (int64_t c = 0; c < C; c += LANES) {
      Vec sum = {};
      for (int64_t p = 0; p < count; p++)
        sum += load(x + p * pair->x.pixel_stride + c) * load(y + p * pair->y.pixel_stride + c);
      store(sums + c, sum);
    }
  });
}

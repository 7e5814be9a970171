// Inputs and outputs of the separable convolutions, and how threads share their rows.

struct Sizes {
  int64_t images, height, width, channels, wide, gates;
};

// In PyTorch's layouts: x (images, height, width, channels); weight, bias (channels) or null without a norm; pointwise
// (wide, channels); depthwise (wide, 9); projection (channels, gates) or null.
struct Inputs {
  const float *x, *weight, *bias, *pointwise, *depthwise, *projection;
};

struct Grads {
  float *x, *weight, *bias, *pointwise, *depthwise, *projection;
};

struct Matrices {
  std::vector<float> pointwise, pointwise_back, depthwise, depthwise_back, projection, projection_back;
};

static void transposed(const float* from, std::vector<float>& to, int64_t rows, int64_t columns) {
  to.resize(rows * columns);
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j < columns; j++) to[j * rows + i] = from[i * columns + j];
}

static Matrices matrices_of(const Inputs& in, const Sizes& size) {
  Matrices found;
  transposed(in.pointwise, found.pointwise, size.wide, size.channels);
  found.pointwise_back.assign(in.pointwise, in.pointwise + size.wide * size.channels);
  transposed(in.depthwise, found.depthwise, size.wide, 9);
  found.depthwise_back.resize(9 * size.wide);
  for (int tap = 0; tap < 9; tap++)
    std::memcpy(&found.depthwise_back[tap * size.wide], &found.depthwise[(8 - tap) * size.wide], 4 * size.wide);
  if (size.gates) {
    transposed(in.projection, found.projection, size.channels, size.gates);
    found.projection_back.assign(in.projection, in.projection + size.channels * size.gates);
  }
  return found;
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

// Convolution in many small groups, such as depthwise: too few filters in a group to fill the tiles of conv.cu. One thread makes
// one number, by the formula; of a weight's gradient, which is a long sum, one block of threads.

#define THREADS 256

// out[n, f, i, j] = bias[f] + sum over c, k, l of x[n, c, row(i, k), column(j, l)] * w[f, c, k, l]. C and F are of one group.
extern "C" __global__ void forward(
    const real* x, const real* w, const real* bias, real* out, int N, int C, int F, int groups, WINDOW) {
  Window window = AS_WINDOW;
  int t = THREAD;
  if (t >= N * groups * F * I * J) return;
  int j = t % J, i = t / J % I, filter = t / (I * J) % (groups * F), n = t / (I * J) / (groups * F);
  const real* pictures = x + (n * groups + filter / F) * C * H * W;
  real sum = 0;
  for (int c = 0; c < C; c++)
    for (int k = 0; k < K; k++)
      for (int l = 0; l < L; l++) {
        int row = window.row(i, k), column = window.column(j, l);
        if (window.inside(row, column)) sum += pictures[(c * H + row) * W + column] * w[((filter * C + c) * K + k) * L + l];
      }
  out[t] = sum + (bias ? bias[filter] : real(0));
}

// gx[n, c, row, column] = sum over f, k, l of g[n, f, i, j] * w[f, c, k, l], where tap (k, l) at (i, j) falls on that pixel.
extern "C" __global__ void input_grad(const real* g, const real* w, real* gx, int N, int C, int F, int groups, WINDOW) {
  Window window = AS_WINDOW;
  int t = THREAD;
  if (t >= N * groups * C * H * W) return;
  int column = t % W, row = t / W % H, channel = t / (H * W) % (groups * C), n = t / (H * W) / (groups * C);
  int group = channel / C, c = channel % C;
  real sum = 0;
  for (int f = group * F; f < (group + 1) * F; f++)
    for (int k = 0; k < K; k++)
      for (int l = 0; l < L; l++) {
        int i = window.position(row, k), j = window.position_across(column, l);
        if (i >= 0 && j >= 0) sum += g[((n * groups * F + f) * I + i) * J + j] * w[((f * C + c) * K + k) * L + l];
      }
  gx[t] = sum;
}

// gw[f, c, k, l] = sum over n, i, j of g[n, f, i, j] * x[n, c, row(i, k), column(j, l)]. The threads share the positions, and
// add up what they have in a tree: with 256 of them in eight steps.
extern "C" __global__ void __launch_bounds__(THREADS) weight_grad(
    const real* x, const real* g, real* gw, int N, int C, int F, int groups, WINDOW) {
  __shared__ real sums[THREADS];
  Window window = AS_WINDOW;
  int l = blockIdx.x % L, k = blockIdx.x / L % K, c = blockIdx.x / (K * L) % C, filter = blockIdx.x / (K * L) / C;
  real sum = 0;
  for (int p = threadIdx.x; p < N * I * J; p += THREADS) {
    int j = p % J, i = p / J % I, n = p / (I * J);
    int row = window.row(i, k), column = window.column(j, l);
    if (window.inside(row, column))
      sum += g[((n * groups * F + filter) * I + i) * J + j] * x[(((n * groups + filter / F) * C + c) * H + row) * W + column];
  }
  sums[threadIdx.x] = sum;
  __syncthreads();
  for (int half = THREADS / 2; half; half /= 2) {
    if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
    __syncthreads();
  }
  if (threadIdx.x == 0) gw[blockIdx.x] = sums[0];
}

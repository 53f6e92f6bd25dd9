// max_pool2d(relu(conv2d(x, w, padding=1) + bias), 2) for windows of 3 x 3 pixels, and its gradients: the picture between convolution
// and pooling, four times as large as the result, is never in memory. H and W are even; I and J are half of them.
//
// Forward and in the gradient of x each thread owns a square of 2 x 2 pixels, in PER channels at once: of each channel on the other
// side it reads the 4 x 4 pixels around once, and uses each of them up to 9 * PER times. Their weights lie in shared memory.
typedef TAP tap_type;
#define THREADS 256
#define PER int(32 / sizeof(real))
#define CHUNK 16  // channels whose weights are in shared memory at a time
#ifndef PIXELS
#define PIXELS 2592
#endif

// The weights of `from` up to CHUNK channels on, for PER others, 0 where there are none: w stands at a * step_a + b * step_b, a of
// n_a the channels that are summed over, b of n_b the others.
__device__ inline void load_weights(
    real (&to)[CHUNK][9][PER], const real* w, int from, int first, int n_a, int n_b, int step_a, int step_b) {
  for (int i = threadIdx.x; i < CHUNK * 9 * PER; i += THREADS) {
    int a = from + i / (9 * PER), tap = i / PER % 9, b = first + i % PER;
    to[i / (9 * PER)][tap][i % PER] = a < n_a && b < n_b ? w[a * step_a + b * step_b + tap] : real(0);
  }
}

extern "C" __global__ void __launch_bounds__(THREADS, 2) forward(
    const real* x, const real* w, const real* bias, real* out, tap_type* taps, int N, int C, int F, int I, int J) {
  __shared__ real weights[CHUNK][9][PER];
  int H = 2 * I, W = 2 * J, first = blockIdx.y * PER, t = THREAD, n = t / (I * J), i = t / J % I, j = t % J;
  real sum[PER][4];
#pragma unroll
  for (int f = 0; f < PER; f++)
#pragma unroll
    for (int q = 0; q < 4; q++) sum[f][q] = bias && first + f < F ? bias[first + f] : real(0);
  for (int from = 0; from < C; from += CHUNK) {
    __syncthreads();
    load_weights(weights, w, from, first, C, F, 9, 9 * C);
    __syncthreads();
    for (int c = from; n < N && c < min(from + CHUNK, C); c++) {
      const real* picture = x + (n * C + c) * H * W;
      real seen[4][4];
#pragma unroll
      for (int r = 0; r < 4; r++)
#pragma unroll
        for (int s = 0; s < 4; s++) {
          int row = 2 * i - 1 + r, column = 2 * j - 1 + s;
          seen[r][s] = row >= 0 && row < H && column >= 0 && column < W ? picture[row * W + column] : real(0);
        }
#pragma unroll
      for (int tap = 0; tap < 9; tap++)
#pragma unroll
        for (int f = 0; f < PER; f++)
#pragma unroll
          for (int q = 0; q < 4; q++) sum[f][q] += weights[c - from][tap][f] * seen[q / 2 + tap / 3][q % 2 + tap % 3];
    }
  }
#pragma unroll
  for (int f = 0; f < PER; f++) {
    if (n >= N || first + f >= F) continue;
    real best = sum[f][0];
    int which = 0;
#pragma unroll
    for (int q = 1; q < 4; q++)
      if (sum[f][q] > best || sum[f][q] != sum[f][q]) {  // the first of equal ones, the last of NaNs
        best = sum[f][q];
        which = q;
      }
    int place = ((n * F + first + f) * I + i) * J + j;
    out[place] = best <= 0 ? real(0) : best;
    if (taps) taps[place] = which;
  }
}

// g is the gradient of the result, 0 where ReLU cut it off: each of its numbers belongs to the one pixel of four that `taps` names.
extern "C" __global__ void __launch_bounds__(THREADS, 1) input_grad(
    const real* g, const tap_type* taps, const real* w, real* gx, int N, int C, int F, int I, int J) {
  __shared__ real weights[CHUNK][9][PER];
  int H = 2 * I, W = 2 * J, first = blockIdx.y * PER, t = THREAD, n = t / (I * J), i = t / J % I, j = t % J;
  real sum[PER][4] = {};
  for (int from = 0; from < F; from += CHUNK) {
    __syncthreads();
    load_weights(weights, w, from, first, F, C, 9 * C, 9);
    __syncthreads();
    for (int f = from; n < N && f < min(from + CHUNK, F); f++) {
      real around[4][4];  // the gradients of the pixels from (2 * i - 1, 2 * j - 1) on, out of 3 x 3 windows
#pragma unroll
      for (int a = 0; a < 3; a++)
#pragma unroll
        for (int b = 0; b < 3; b++) {
          int row = i - 1 + a, column = j - 1 + b, place = ((n * F + f) * I + row) * J + column;
          bool there = row >= 0 && row < I && column >= 0 && column < J;
          real value = there ? g[place] : real(0);
          int which = there ? taps[place] : 0;
#pragma unroll
          for (int q = 0; q < 4; q++) {
            int r = 2 * a - 1 + q / 2, s = 2 * b - 1 + q % 2;
            if (r >= 0 && r < 4 && s >= 0 && s < 4) around[r][s] = which == q ? value : real(0);
          }
        }
#pragma unroll
      for (int tap = 0; tap < 9; tap++)
#pragma unroll
        for (int c = 0; c < PER; c++)
#pragma unroll
          for (int q = 0; q < 4; q++) sum[c][q] += weights[f - from][tap][c] * around[q / 2 + 2 - tap / 3][q % 2 + 2 - tap % 3];
    }
  }
#pragma unroll
  for (int c = 0; c < PER; c++)
#pragma unroll
    for (int q = 0; q < 4; q++)
      if (n < N && first + c < C) gx[((n * C + first + c) * H + 2 * i + q / 2) * W + 2 * j + q % 2] = sum[c][q];
}

// Each thread owns the 9 weights of one filter and one channel, and adds up over some images, `length` of them, what it finds under
// the pixels that `taps` names: a quarter of all. `channels` of a picture, with a border of 0, are in shared memory, side by side.
// The sums of the parts, (splits, F, C, 3, 3), are added up afterwards, in their order.
extern "C" __global__ void __launch_bounds__(THREADS, 1) weight_grad(
    const real* x, const real* g, const tap_type* taps, real* gw, int N, int C, int F, int I, int J, int channels, int length) {
  __shared__ real picture[PIXELS];
  int H = 2 * I, W = 2 * J, width = W + 2, first = blockIdx.x * channels, split = blockIdx.z;
  int c = threadIdx.x % channels, f = blockIdx.y * (THREADS / channels) + threadIdx.x / channels;
  bool own = threadIdx.x / channels < THREADS / channels && first + c < C && f < F;
  real sum[9] = {};
  for (int n = split * length; n < min((split + 1) * length, N); n++) {
    __syncthreads();
    for (int e = threadIdx.x; e < channels * (H + 2) * width; e += THREADS) {
      int which = first + e % channels, row = e / channels / width - 1, column = e / channels % width - 1;
      bool there = which < C && row >= 0 && row < H && column >= 0 && column < W;
      picture[e] = there ? x[((n * C + which) * H + row) * W + column] : real(0);
    }
    __syncthreads();
    for (int p = 0; own && p < I * J; p++) {
      int place = (n * F + f) * I * J + p, which = taps[place];
      int corner = ((2 * (p / J) + which / 2) * width + 2 * (p % J) + which % 2) * channels + c;
      real value = g[place];
#pragma unroll
      for (int tap = 0; tap < 9; tap++) sum[tap] += value * picture[corner + (tap / 3 * width + tap % 3) * channels];
    }
  }
#pragma unroll
  for (int tap = 0; tap < 9; tap++)
    if (own) gw[((split * F + f) * C + first + c) * 9 + tap] = sum[tap];
}

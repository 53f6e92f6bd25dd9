// Convolution and its partial derivatives as matrix products whose factors are never laid out in memory ("implicit GEMM").
//
// A picture's columns (what the window sees at each position, as one column) would be K * L times as large as the picture.
// Here the strips that a tile of the product needs (tiles.cuh) are fetched by looking up each number where it really stands.
//
//                 rows of the tile     columns                  summed over
//   forward       filters f            positions (n, i, j)      what the window sees (k, l, c)
//   input_grad    channels c           pixels (n, row, column)  positions that see it (k, l, f)
//   weight_grad   filters f            weights (c, k, l)        positions (n, i, j)
//
// The second is the first once more, by a window that looks back: from a pixel to the positions from which its taps fall on it. Its
// dilation is negative, and after a stride of 2 its steps are half positions, of which every other one is there.
//
// Every sum is in an order that depends on the sizes alone, so results are the same every time.
#include "tiles.cuh"

// HEIGHT, WIDTH: of the tiles. TOGETHER: how many steps of the sum, 4 or 1, lie side by side where they are fetched. APART: of how
// many steps of the window one is there.
#ifndef HEIGHT
#define HEIGHT 32
#define WIDTH 128
#define TOGETHER 4
#define APART_H 1
#define APART_W 1
#endif
typedef Tile<OPERAND, HEIGHT, WIDTH> Sums;

// What `look` multiplies: weights by pixels. Each thread fetches the pixels for one position, its column of the tile.
struct Looking {
  typedef Strip<Sums, HEIGHT, TOGETHER> Weights;
  Window window;
  const real *x, *w;  // w: of the tile's first filter
  int C, filters, stop, from, row, column;  // from: where in x the picture begins that this thread looks at
  int k = 0, l = 0, c = 0, plane;
  Weights weights;
  real pixels[DEPTH];

  __device__ void fetch(int start) {
#pragma unroll
    for (int i = 0; i < Weights::N; i++)
#pragma unroll
      for (int part = 0; part < 4; part += TOGETHER) {
        int line = weights.line(i), d = start + weights.depth + part;
        weights.fetch(i, part, w + line * stop + d, line < filters && d < stop);
      }
#pragma unroll
    for (int d = 0; d < DEPTH; d += TOGETHER) {
      int r = row + k * window.dilation_h, s = column + l * window.dilation_w;
      bool there = k < window.K && r >= 0 && s >= 0 && r % APART_H == 0 && s % APART_W == 0;
      r /= APART_H, s /= APART_W;
      int place = from + c * plane + r * window.W + s;
#pragma unroll
      for (int part = 0; part < TOGETHER; part++)
        pixels[d + part] = there && r < window.H && s < window.W ? x[place + part * plane] : real(0);
      if ((c += TOGETHER) == C) c = 0, l++;
      if (l == window.L) l = 0, k++;
    }
  }
  __device__ void keep(Sums::Line* rows, Sums::Line* columns) const {
    weights.keep(rows);
#pragma unroll
    for (int i = 0; i < Sums::WORDS; i++) columns[threadIdx.x][i] = Sums::word(pixels + i * Sums::PER);
  }
};

// out[n, f, i, j] = bias[f] + sum over k, l, c of x[n, c, row(i, k), column(j, l)] * w[f, k, l, c]. C and F are of one group. WIDTH
// is the number of THREADS.
extern "C" __global__ void __launch_bounds__(THREADS, 3) look(
    const real* x, const real* w, const real* bias, real* out, int N, int C, int F, int groups, WINDOW) {
  __shared__ Strips<Sums> strips;
  Looking factors;
  factors.window = AS_WINDOW;
  int group = blockIdx.z, first_f = blockIdx.y * HEIGHT, first_p = blockIdx.x * WIDTH, size = I * J;
  int p = first_p + threadIdx.x, n = p / size;
  factors.x = x, factors.w = w + (group * F + first_f) * K * L * C;
  factors.C = C, factors.filters = F - first_f, factors.stop = K * L * C;
  factors.plane = H * W, factors.from = (n * groups + group) * C * H * W;
  factors.row = n < N ? factors.window.row(p / J % I, 0) : -(1 << 30);  // from where nothing is seen
  factors.column = factors.window.column(p % J, 0);
  Sums sums;
  multiply(sums, strips, factors, 0, factors.stop);
#pragma unroll
  for (int e = 0; e < Sums::SUMS; e++) {
    int f = first_f + Sums::row(e), q = first_p + Sums::column(e), filter = group * F + f;
    if (f >= F || q >= N * size) continue;
    out[(q / size * groups * F + filter) * size + q % size] = sums.sum[e] + (bias ? bias[filter] : real(0));
  }
}

// How far a weight's pixel is from a position's first, in memory, in rows, in columns; and what there is instead of a pixel.
struct Tap { int place, down, across; real instead; };

// What `weight_grad` multiplies: the gradients at positions by the pixels that weights find there.
struct Weighing {
  typedef Strip<Sums, HEIGHT, TOGETHER> Slopes;
  typedef Strip<Sums, WIDTH, TOGETHER> Pixels;
  Window window;
  const real *x, *g;  // g: of the tile's first filter
  const Tap (*taps)[Pixels::ROOM];
  int filters, stop, step_x, step_g;  // steps: from one picture to the next
  Slopes slopes;
  Pixels pixels;

  __device__ void fetch(int start) {
#pragma unroll
    for (int part = 0; part < 4; part += TOGETHER) {
      int p = start + slopes.depth + part, size = window.I * window.J, n = p / size;
      int row = window.row(p / window.J % window.I, 0), column = window.column(p % window.J, 0);
      int from = n * step_x + row * window.W + column;
      bool there = p < stop;
#pragma unroll
      for (int i = 0; i < Slopes::N; i++) {
        int line = slopes.line(i);
        slopes.fetch(i, part, g + n * step_g + line * size + p % size, there && line < filters);
      }
#pragma unroll
      for (int i = 0; i < Pixels::N; i++) {
        Tap tap = (*taps)[pixels.line(i)];
#pragma unroll
        for (int q = 0; q < TOGETHER; q++) {
          int aside = q * window.stride_w;
          bool seen = there && window.inside(row + tap.down, column + tap.across + aside);
          pixels.fours[i].numbers[part + q] = seen ? x[from + tap.place + aside] : tap.instead;
        }
      }
    }
  }
  __device__ void keep(Sums::Line* rows, Sums::Line* columns) const {
    slopes.keep(rows);
    pixels.keep(columns);
  }
};

// gw[f, c, k, l] = sum over n, i, j of g[n, f, i, j] * x[n, c, row(i, k), column(j, l)].
//
// The bias is one weight more for each filter, whose pixel is always 1: gb[f] = sum over n, i, j of g[n, f, i, j], if that is wanted.
//
// There are few weights and many positions: the positions are cut into `splits` parts of `length`, a block for each, so that all
// of the GPU has work. Their sums, (splits, weights of all filters and from `biases` on the biases), are added up afterwards.
extern "C" __global__ void __launch_bounds__(THREADS, 3) weight_grad(
    const real* x, const real* g, real* gw, real* gb, int biases, int N, int C, int F, int groups, int splits, int length, WINDOW) {
  __shared__ Strips<Sums> strips;
  __shared__ Tap taps[Weighing::Pixels::ROOM];
  Weighing factors;
  factors.window = AS_WINDOW;
  int group = blockIdx.z % groups, split = blockIdx.z / groups, start = split * length, weights = C * K * L;
  int first_f = blockIdx.y * HEIGHT, first_t = blockIdx.x * WIDTH;
  for (int e = threadIdx.x; e < Weighing::Pixels::ROOM; e += THREADS) {
    int t = first_t + e, down = t / L % K * factors.window.dilation_h, across = t % L * factors.window.dilation_w;
    taps[e] = t < weights ? Tap{t / (K * L) * H * W + down * W + across, down, across, 0} : Tap{0, -(1 << 30), 0, real(t == weights)};
  }
  __syncthreads();
  factors.x = x + group * C * H * W, factors.g = g + (group * F + first_f) * I * J;
  factors.taps = &taps, factors.filters = F - first_f, factors.stop = start + min(length, N * I * J - start);
  factors.step_x = groups * C * H * W, factors.step_g = groups * F * I * J;
  Sums sums;
  multiply(sums, strips, factors, start, factors.stop);
#pragma unroll
  for (int e = 0; e < Sums::SUMS; e++) {
    int f = first_f + Sums::row(e), t = first_t + Sums::column(e), filter = group * F + f, step = groups * F * (weights + (gb != nullptr));
    if (f < F && t < weights) gw[split * step + filter * weights + t] = sums.sum[e];
    if (f < F && t == weights && gb) gb[split * step + biases + filter] = sums.sum[e];
  }
}

// Convolution and its partial derivatives as matrix products whose factors are never laid out in memory ("implicit GEMM").
//
// A picture's columns (what the window sees at each position, as one column) would be K * L times as large as the picture.
// Here the strips that a tile of the product needs (tiles.cuh) are fetched by looking up each number where it really stands.
//
//                 rows of the tile     columns                  summed over
//   forward       filters f            positions (n, i, j)      what the window sees (c, k, l)
//   input_grad    channels c           pixels (n, row, column)  positions that see it (f, k, l)
//   weight_grad   filters f            weights (c, k, l)        positions (n, i, j)
//
// Every sum is in an order that depends on the sizes alone, so results are the same every time.

#include "tiles.cuh"

// A place in a dimension made of three, the last running fastest. Going on by a few places takes no division.
struct Triple {
  int a, b, c, size_b, size_c;
  __device__ Triple(int place, int size_b, int size_c)
      : a(place / (size_b * size_c)), b(place / size_c % size_b), c(place % size_c), size_b(size_b), size_c(size_c) {}
  __device__ void advance(int n) {
    for (c += n; c >= size_c; c -= size_c) b++;
    for (; b >= size_b; b -= size_b) a++;
  }
};

// out[n, f, i, j] = bias[f] + sum over c, k, l of x[n, c, row(i, k), column(j, l)] * w[f, c, k, l]. C and F are of one group.
extern "C" __global__ void __launch_bounds__(THREADS) forward(
    const real* x, const real* w, const real* bias, real* out, int N, int C, int F, int groups, int with_bias, WINDOW) {
  __shared__ real a[DEPTH][Sums::PITCH], b[DEPTH][Sums::PITCH];
  Window window = AS_WINDOW;
  int group = blockIdx.z, positions = N * I * J, taps = C * K * L;
  int first_f = blockIdx.y * TILE, first_p = blockIdx.x * TILE;
  // For b each thread fetches numbers of one column: a position is found once, and its tap goes on by THREADS / TILE.
  int across = threadIdx.x % TILE, p = first_p + across;
  Triple at(p, I, J), seen(threadIdx.x / TILE, K, L);
  const real* picture = x + (at.a * groups + group) * C * H * W;
  Sums sums;
  for (int start = 0; start < taps; start += DEPTH) {
    for (int e = threadIdx.x; e < TILE * DEPTH; e += THREADS) {
      int f = first_f + e / DEPTH, tap = start + e % DEPTH;
      a[e % DEPTH][e / DEPTH] = Sums::fetched(f < F && tap < taps ? w[(group * F + f) * taps + tap] : real(0));
    }
    for (int d = threadIdx.x / TILE; d < DEPTH; d += THREADS / TILE) {
      int row = window.row(at.b, seen.b), column = window.column(at.c, seen.c);
      bool there = p < positions && seen.a < C && window.inside(row, column);
      b[d][across] = Sums::fetched(there ? picture[(seen.a * H + row) * W + column] : real(0));
      seen.advance(THREADS / TILE);
    }
    __syncthreads();
    sums.add(a, b);
    __syncthreads();
  }
#pragma unroll
  for (int e = 0; e < 16; e++) {
    int f = first_f + Sums::row(e), q = first_p + Sums::column(e), filter = group * F + f;
    if (f < F && q < positions)
      out[(q / (I * J) * groups * F + filter) * (I * J) + q % (I * J)] = sums.sum[e] + (with_bias ? bias[filter] : real(0));
  }
}

// gx[n, c, row, column] = sum over f, k, l of g[n, f, i, j] * w[f, c, k, l], where tap (k, l) at (i, j) falls on that pixel.
extern "C" __global__ void __launch_bounds__(THREADS) input_grad(
    const real* g, const real* w, real* gx, int N, int C, int F, int groups, WINDOW) {
  __shared__ real a[DEPTH][Sums::PITCH], b[DEPTH][Sums::PITCH];
  Window window = AS_WINDOW;
  int group = blockIdx.z, pixels = N * H * W, taps = F * K * L;
  int first_c = blockIdx.y * TILE, first_p = blockIdx.x * TILE;
  int across = threadIdx.x % TILE, p = first_p + across;
  Triple at(p, H, W), seen(threadIdx.x / TILE, K, L);
  const real* picture = g + (at.a * groups + group) * F * I * J;
  Sums sums;
  for (int start = 0; start < taps; start += DEPTH) {
    for (int e = threadIdx.x; e < TILE * DEPTH; e += THREADS) {
      int c = first_c + e / DEPTH, tap = start + e % DEPTH, f = tap / (K * L);
      real there = c < C && tap < taps ? w[((group * F + f) * C + c) * K * L + tap % (K * L)] : real(0);
      a[e % DEPTH][e / DEPTH] = Sums::fetched(there);
    }
    for (int d = threadIdx.x / TILE; d < DEPTH; d += THREADS / TILE) {
      int i = window.position(at.b, seen.b), j = window.position_across(at.c, seen.c);
      bool there = p < pixels && seen.a < F && i >= 0 && j >= 0;
      b[d][across] = Sums::fetched(there ? picture[(seen.a * I + i) * J + j] : real(0));
      seen.advance(THREADS / TILE);
    }
    __syncthreads();
    sums.add(a, b);
    __syncthreads();
  }
#pragma unroll
  for (int e = 0; e < 16; e++) {
    int c = first_c + Sums::row(e), q = first_p + Sums::column(e);
    if (c < C && q < pixels) gx[((q / (H * W) * groups + group) * C + c) * (H * W) + q % (H * W)] = sums.sum[e];
  }
}

// gw[f, c, k, l] = sum over n, i, j of g[n, f, i, j] * x[n, c, row(i, k), column(j, l)].
//
// There are few weights and many positions: the positions are cut into `splits` parts of `length`, a block for each, so that all
// of the GPU has work. Their sums, (splits, F, C, K, L), are added up afterwards.
extern "C" __global__ void __launch_bounds__(THREADS) weight_grad(
    const real* x, const real* g, real* gw, int N, int C, int F, int groups, int splits, int length, WINDOW) {
  __shared__ real a[DEPTH][Sums::PITCH], b[DEPTH][Sums::PITCH];
  Window window = AS_WINDOW;
  int group = blockIdx.z % groups, split = blockIdx.z / groups, taps = C * K * L;
  int first_f = blockIdx.y * TILE, first_t = blockIdx.x * TILE;
  int stop = min((split + 1) * length, N * I * J);
  // Each thread fetches, in every step, what is at one position: for 4 filters and for 4 taps, which stay the same.
  int d = threadIdx.x % DEPTH, across = threadIdx.x / DEPTH;
  Triple at(split * length + d, I, J);
  Triple tap[4] = {{first_t + across, K, L}, {first_t + across + 16, K, L}, {first_t + across + 32, K, L}, {first_t + across + 48, K, L}};
  Sums sums;
  for (int start = split * length; start < stop; start += DEPTH) {
    bool position = start + d < stop;
#pragma unroll
    for (int r = 0; r < 4; r++) {
      int f = first_f + across + 16 * r, row = window.row(at.b, tap[r].b), column = window.column(at.c, tap[r].c);
      bool seen = position && tap[r].a < C && window.inside(row, column);
      real slope = position && f < F ? g[(((at.a * groups + group) * F + f) * I + at.b) * J + at.c] : real(0);
      real pixel = seen ? x[(((at.a * groups + group) * C + tap[r].a) * H + row) * W + column] : real(0);
      a[d][across + 16 * r] = Sums::fetched(slope);
      b[d][across + 16 * r] = Sums::fetched(pixel);
    }
    at.advance(DEPTH);
    __syncthreads();
    sums.add(a, b);
    __syncthreads();
  }
#pragma unroll
  for (int e = 0; e < 16; e++) {
    int f = first_f + Sums::row(e), t = first_t + Sums::column(e);
    if (f < F && t < taps) gw[((split * groups + group) * F + f) * taps + t] = sums.sum[e];
  }
}

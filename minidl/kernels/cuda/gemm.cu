// Products of matrices, for where cublasLt is not: out = a @ b, then the bias of each column is added, and relu.
//
// A factor may lie transposed in memory; either way neighbouring threads fetch what are neighbours there. A batch of products is
// so many tiles more. Where the sums are long and the tiles few (100 x 512 numbers of 4096 products each are 16 tiles, for a GPU
// that could do a hundred at a time), the sums are cut into `splits` parts of `length`, a block for each, and added up afterwards,
// always in the same order.
#include "tiles.cuh"

#define TILE 64
typedef Tile<OPERAND, TILE, TILE> Sums;

// Some lines of a factor: its rows or, of the right one, its columns. Step d of a line is at line * down + d * across.
struct Lines {
  typedef Strip<Sums, TILE, 1> Fetched;
  const real* x;
  int n, stop, down, across;
  Fetched strip;
  __device__ Lines(const real* x, int first, int lines, int stop, int down, int across)
      : x(x + first * down), n(lines - first), stop(stop), down(down), across(across) {}
  __device__ void fetch(int start) {
#pragma unroll
    for (int i = 0; i < Fetched::N; i++)
#pragma unroll
      for (int part = 0; part < 4; part++) {
        int line = strip.line(i), d = strip.depth + part;
        strip.fetch(i, part, x + line * down + (start + d) * across, line < n && d < stop - start);
      }
  }
};
struct Factors {
  Lines left, right;
  __device__ void fetch(int start) {
    left.fetch(start);
    right.fetch(start);
  }
  __device__ void keep(Sums::Line* rows, Sums::Line* columns) const {
    left.strip.keep(rows);
    right.strip.keep(columns);
  }
};

__device__ inline real finished(real sum, const real* bias, int column, int with_relu) {
  if (bias) sum += bias[column];
  return with_relu && sum <= 0 ? real(0) : sum;  // NaN stays
}

// (batch, M, K) @ (batch, K, N) -> (batch, M, N), or with splits (splits, batch, M, N). From one matrix of a factor to the next
// it is `step` numbers, 0 where all have the same.
extern "C" __global__ void __launch_bounds__(THREADS, 3) gemm(
    const real* a, const real* b, const real* bias, real* out, int batch, int M, int N, int K, int turned_a, int turned_b,
    int step_a, int step_b, int splits, int length, int with_relu) {
  __shared__ Strips<Sums> strips;
  int across = (N + TILE - 1) / TILE, down = (M + TILE - 1) / TILE;
  int first_column = blockIdx.x % across * TILE, first_row = blockIdx.x / across % down * TILE;
  int number = blockIdx.x / (across * down), matrix = number % batch, split = number / batch;
  int start = split * length, stop = start + min(length, K - start);
  Lines left(a + matrix * step_a, first_row, M, stop, turned_a ? 1 : K, turned_a ? M : 1);
  Lines right(b + matrix * step_b, first_column, N, stop, turned_b ? K : 1, turned_b ? 1 : N);
  Factors factors{left, right};
  Sums sums;
  multiply(sums, strips, factors, start, stop);
#pragma unroll
  for (int e = 0; e < Sums::SUMS; e++) {
    int row = first_row + Sums::row(e), column = first_column + Sums::column(e);
    if (row >= M || column >= N) continue;
    real sum = sums.sum[e];
    out[(number * M + row) * N + column] = splits > 1 ? sum : finished(sum, bias, column, with_relu);
  }
}

// The parts of sums that were cut, added up, and what follows the product.
extern "C" __global__ void add_parts(
    const real* parts, const real* bias, real* out, int n, int N, int splits, int with_relu) {
  int t = THREAD;
  if (t >= n) return;
  real sum = 0;
  for (int s = 0; s < splits; s++) sum += parts[s * n + t];
  out[t] = finished(sum, bias, t % N, with_relu);
}

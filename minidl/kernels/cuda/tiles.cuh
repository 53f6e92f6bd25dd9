// Products of matrices in tiles.
//
// Each block of threads makes a tile of the product, TILE x TILE numbers, and walks along the dimension that is summed over,
// DEPTH steps at a time. It fetches the two strips it needs into shared memory, and every thread multiplies 4 x 4 numbers out of
// them. So a number is fetched once for the 64 products it is in.
#define TILE 64
#define DEPTH 16
#define PITCH (TILE + 4)  // the length of a row in shared memory: with 64 all of a column would lie in one bank
#define THREADS 256       // as 16 x 16, each for 4 x 4 numbers of the tile

// One step: every thread adds DEPTH products to each of its numbers.
__device__ inline void multiply(const real (*a)[PITCH], const real (*b)[PITCH], real (&sum)[4][4]) {
  int top = threadIdx.x / 16 * 4, left = threadIdx.x % 16 * 4;
#pragma unroll
  for (int d = 0; d < DEPTH; d++) {
    real row[4], column[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
      row[i] = a[d][top + i];
      column[i] = b[d][left + i];
    }
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
      for (int j = 0; j < 4; j++) sum[i][j] += row[i] * column[j];
  }
}

// Products of matrices in tiles.
//
// Each block of threads makes a tile of the product, TILE x TILE numbers, and walks along the dimension that is summed over,
// DEPTH steps at a time. It fetches the two strips it needs into shared memory and multiplies them. So a number is fetched once
// for the 64 products it is in. Each of the 256 threads has 16 numbers of the tile, sums of type `real`. What is multiplied is of
// type OPERAND: `real` too, or float rounded to fewer bits, for which a GPU has circuits of its own, the tensor cores.
#define TILE 64
#define DEPTH 16
#define THREADS 256
#ifndef OPERAND
#define OPERAND real
#endif

#ifndef CUDA_ON_CPU
// Numbers rounded to the nearest that the tensor cores take, as 32 bits: one of 19 bits, or two of 16.
__device__ inline unsigned one_tf32(float x) {
  unsigned bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return bits;
}
__device__ inline unsigned two_bf16(float low, float high) {
  unsigned bits;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
  return bits;
}
__device__ inline unsigned two_f16(float low, float high) {
  unsigned bits;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
  return bits;
}
// One instruction of the tensor cores, for a warp: sum (16 x 8) += a (16 x k) times b (k x 8). Which thread has which numbers is said
// in `Tile::add`, and in NVIDIA's Parallel Thread Execution ISA, "Matrix Fragments for mma.m16n8k8" and "mma.m16n8k16".
#define MMA(name, shape_and_types)                                                                                           \
  __device__ inline void name(float* sum, const unsigned* a, const unsigned* b) {                                            \
    asm volatile("mma.sync.aligned." shape_and_types " {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"               \
                 : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])                                                    \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));                                        \
  }
MMA(mma_tf32, "m16n8k8.row.col.f32.tf32.tf32.f32")
MMA(mma_bf16, "m16n8k16.row.col.f32.bf16.bf16.f32")
MMA(mma_f16, "m16n8k16.row.col.f32.f16.f16.f32")
#endif

// The kinds of operands. K: how deep an instruction is. PITCH: the length of a row in shared memory, such that what the threads of a
// warp read at a time lies in 32 banks. `fetched`: a number as it is kept there. `pair`: what is at depth `d` in column `x`, as an
// operand, with what is below it if that takes 16 bits only.
struct tf32 {
  static const int K = 8, PITCH = TILE + 8;
  __device__ static float fetched(float x) {
    unsigned bits = one_tf32(x);
    return *reinterpret_cast<float*>(&bits);
  }
  __device__ static unsigned pair(const float (*s)[PITCH], int d, int x) { return *reinterpret_cast<const unsigned*>(&s[d][x]); }
  __device__ static void mma(float* sum, const unsigned* a, const unsigned* b) { mma_tf32(sum, a, b); }
};
struct bf16 {
  static const int K = 16, PITCH = TILE + 4;
  __device__ static float fetched(float x) { return x; }
  __device__ static unsigned pair(const float (*s)[PITCH], int d, int x) { return two_bf16(s[d][x], s[d + 1][x]); }
  __device__ static void mma(float* sum, const unsigned* a, const unsigned* b) { mma_bf16(sum, a, b); }
};
struct f16 {
  static const int K = 16, PITCH = TILE + 4;
  __device__ static float fetched(float x) { return x; }
  __device__ static unsigned pair(const float (*s)[PITCH], int d, int x) { return two_f16(s[d][x], s[d + 1][x]); }
  __device__ static void mma(float* sum, const unsigned* a, const unsigned* b) { mma_f16(sum, a, b); }
};

// On the tensor cores. The 8 warps stand as 2 x 4, each for 32 x 16 numbers, made by 2 x 2 instructions.
template <class Operand> struct Tile {
  static const int PITCH = Operand::PITCH;
  float sum[16] = {};
  // Where in the tile number e of this thread is.
  __device__ static int row(int e) { return threadIdx.x / 128 * 32 + threadIdx.x % 32 / 4 + e / 8 * 16 + e % 4 / 2 * 8; }
  __device__ static int column(int e) { return threadIdx.x / 32 % 4 * 16 + threadIdx.x % 4 * 2 + e / 4 % 2 * 8 + e % 2; }
  __device__ static float fetched(float x) { return Operand::fetched(x); }
  // Add DEPTH products to each number: rows of the left factor, which stand as columns in `a`, times columns of the right one.
  __device__ void add(const float (*a)[PITCH], const float (*b)[PITCH]) {
    const int half = Operand::K / 2, lane = threadIdx.x % 32;
    int top = threadIdx.x / 128 * 32 + lane / 4, left = threadIdx.x / 32 % 4 * 16 + lane / 4, deep = lane % 4 * half / 4;
#pragma unroll
    for (int d = 0; d < DEPTH; d += Operand::K) {
      unsigned rows[2][4], columns[2][2];
#pragma unroll
      for (int i = 0; i < 2; i++)
#pragma unroll
        for (int part = 0; part < 4; part++)
          rows[i][part] = Operand::pair(a, d + deep + part / 2 * half, top + 16 * i + part % 2 * 8);
#pragma unroll
      for (int j = 0; j < 2; j++)
#pragma unroll
        for (int part = 0; part < 2; part++) columns[j][part] = Operand::pair(b, d + deep + part * half, left + 8 * j);
#pragma unroll
      for (int i = 0; i < 2; i++)
#pragma unroll
        for (int j = 0; j < 2; j++) Operand::mma(sum + 8 * i + 4 * j, rows[i], columns[j]);
    }
  }
};

// Without them. The threads stand as 16 x 16, each for 4 x 4 numbers, so that 8 numbers fetched are 16 products.
template <> struct Tile<real> {
  static const int PITCH = TILE + 4;  // with 64 all of a column would lie in one bank
  real sum[16] = {};
  __device__ static int row(int e) { return threadIdx.x / 16 * 4 + e / 4; }
  __device__ static int column(int e) { return threadIdx.x % 16 * 4 + e % 4; }
  __device__ static real fetched(real x) { return x; }
  __device__ void add(const real (*a)[PITCH], const real (*b)[PITCH]) {
#pragma unroll
    for (int d = 0; d < DEPTH; d++) {
      real rows[4], columns[4];
#pragma unroll
      for (int i = 0; i < 4; i++) {
        rows[i] = a[d][row(0) + i];
        columns[i] = b[d][column(0) + i];
      }
#pragma unroll
      for (int e = 0; e < 16; e++) sum[e] += rows[e / 4] * columns[e % 4];
    }
  }
};
typedef Tile<OPERAND> Sums;

// Products of matrices in tiles.
//
// Each block of threads makes a tile of the product, ROWS x COLUMNS numbers, and walks along the dimension that is summed over,
// DEPTH steps at a time. It fetches the two strips it needs, the rows of the left factor and the columns of the right one, into
// shared memory and multiplies them. So a number that is fetched once is in 16 to 128 products. What is multiplied is of type
// OPERAND: `real`, like the sums, or float rounded to fewer bits, for which a GPU has circuits of its own, the tensor cores.
//
// In shared memory a strip is lines of words: all of a row's numbers side by side, and then those of the next row. A word is one
// number, or two of 16 bits. The lines are PITCH words apart, 16 bytes more than they have, so that what the threads of a warp read
// at a time lies in 32 banks.
#define THREADS 128
#define DEPTH int(64 / sizeof(real))
#ifndef OPERAND
#define OPERAND real
#endif

// Numbers rounded to the nearest that the tensor cores take, as 32 bits: one of 19 bits, or two of 16. Of the first they do not
// look at the other 13 bits, so half of what the last one stands for is added.
__device__ inline unsigned one_tf32(float x) {
  unsigned bits = __float_as_uint(x);
  return fabsf(x) < INFINITY ? bits + 0x1000 : bits;
}
#ifndef CUDA_ON_CPU
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

// The kinds of operands. PER: how many are in a word. `word`: made of numbers that follow each other in depth. `mma`: the product.
struct tf32 {
  typedef unsigned Word;
  static const int PER = 1;
  __device__ static unsigned word(const float* x) { return one_tf32(x[0]); }
  __device__ static void mma(float* sum, const unsigned* a, const unsigned* b) { mma_tf32(sum, a, b); }
};
struct bf16 {
  typedef unsigned Word;
  static const int PER = 2;
  __device__ static unsigned word(const float* x) { return two_bf16(x[0], x[1]); }
  __device__ static void mma(float* sum, const unsigned* a, const unsigned* b) { mma_bf16(sum, a, b); }
};
struct f16 {
  typedef unsigned Word;
  static const int PER = 2;
  __device__ static unsigned word(const float* x) { return two_f16(x[0], x[1]); }
  __device__ static void mma(float* sum, const unsigned* a, const unsigned* b) { mma_f16(sum, a, b); }
};

// How strips lie in shared memory.
template <class W, int N> struct Words {
  typedef W Word;
  static const int PER = N, WORDS = DEPTH / PER, PITCH = WORDS + 16 / sizeof(Word);
  typedef Word Line[PITCH];
};

// A tile on the tensor cores. Each of the 4 warps has 16 or 32 rows and a part of the columns, of which an instruction makes
// 16 x 8 numbers from 8 words of each line. Row, column: where in the tile number e of this thread is.
template <class Operand, int R, int C> struct Tile : Words<typename Operand::Word, Operand::PER> {
  typedef Words<unsigned, Operand::PER> Kept;
  static const int ROWS = R, COLUMNS = C;
  static const int DOWN = ROWS < 64 ? 1 : 2, ACROSS = 4 / DOWN, HIGH = ROWS / DOWN / 16, WIDE = COLUMNS / ACROSS / 8;
  static const int SUMS = HIGH * WIDE * 4;
  float sum[SUMS] = {};
  __device__ static int top() { return threadIdx.x / 32 / ACROSS * (16 * HIGH) + threadIdx.x % 32 / 4; }
  __device__ static int left() { return threadIdx.x / 32 % ACROSS * (8 * WIDE); }
  __device__ static int row(int e) { return top() + e / (4 * WIDE) * 16 + e % 4 / 2 * 8; }
  __device__ static int column(int e) { return left() + e / 4 % WIDE * 8 + threadIdx.x % 4 * 2 + e % 2; }
  __device__ static unsigned word(const float* x) { return Operand::word(x); }
  __device__ void add(const typename Kept::Line* a, const typename Kept::Line* b) {
    int lane = threadIdx.x % 32;
#pragma unroll
    for (int d = 0; d < Kept::WORDS; d += 8) {
      unsigned rows[HIGH][4];
#pragma unroll
      for (int i = 0; i < HIGH; i++)
#pragma unroll
        for (int part = 0; part < 4; part++) rows[i][part] = a[top() + 16 * i + part % 2 * 8][d + lane % 4 + part / 2 * 4];
#pragma unroll
      for (int j = 0; j < WIDE; j++) {
        const unsigned* column = b[left() + 8 * j + lane / 4] + d + lane % 4;
        unsigned both[2] = {column[0], column[4]};
#pragma unroll
        for (int i = 0; i < HIGH; i++) Operand::mma(sum + 4 * (i * WIDE + j), rows[i], both);
      }
    }
  }
};

// Without them. The threads stand as 8 x 16, and each has every eighth row and every sixteenth column.
template <int R, int C> struct Tile<real, R, C> : Words<real, 1> {
  static const int ROWS = R, COLUMNS = C;
  static const int HIGH = ROWS / 8, WIDE = COLUMNS / 16, SUMS = HIGH * WIDE, AT_ONCE = 16 / sizeof(real);
  real sum[SUMS] = {};
  __device__ static int row(int e) { return threadIdx.x / 16 + e / WIDE * 8; }
  __device__ static int column(int e) { return threadIdx.x % 16 + e % WIDE * 16; }
  __device__ static real word(const real* x) { return x[0]; }
  __device__ void add(const Line* a, const Line* b) {
#pragma unroll 1  // all of them at once would take more registers than there are
    for (int d = 0; d < DEPTH; d += AT_ONCE) {
      real columns[WIDE][AT_ONCE];
#pragma unroll
      for (int j = 0; j < WIDE; j++)
#pragma unroll
        for (int k = 0; k < AT_ONCE; k++) columns[j][k] = b[column(j)][d + k];
#pragma unroll
      for (int i = 0; i < HIGH; i++) {
        real own[AT_ONCE];
#pragma unroll
        for (int k = 0; k < AT_ONCE; k++) own[k] = a[row(i * WIDE)][d + k];
#pragma unroll
        for (int j = 0; j < WIDE; j++)
#pragma unroll
          for (int k = 0; k < AT_ONCE; k++) sum[i * WIDE + j] += own[k] * columns[j][k];
      }
    }
  }
};

// A strip of LINES lines, of which the threads fetch four numbers each, side by side in depth: AT_ONCE at a time.
template <class Sums, int LINES, int AT_ONCE> struct Strip {
  static const int ACROSS = DEPTH / 4, STEP = THREADS / ACROSS, N = (LINES + STEP - 1) / STEP;
  static const int ROOM = N * STEP;  // more than LINES where there are more threads
  struct __align__(16) Four { real numbers[4]; } fours[N];
  const int depth = threadIdx.x % ACROSS * 4, first = threadIdx.x / ACROSS;
  __device__ int line(int i) const { return first + i * STEP; }
  __device__ void fetch(int i, int part, const real* from, bool there) {
    if (AT_ONCE == 4)
      fours[i] = there ? *reinterpret_cast<const Four*>(from) : Four();
    else
      fours[i].numbers[part] = there ? *from : real(0);
  }
  __device__ void keep(typename Sums::Line* strip) const {
#pragma unroll
    for (int i = 0; i < N; i++)
#pragma unroll
      for (int part = 0; part < 4; part += Sums::PER)
        if (line(i) < LINES) strip[line(i)][(depth + part) / Sums::PER] = Sums::word(fours[i].numbers + part);
  }
};

// The strips in shared memory: two of each, so that the next ones are on their way while these are multiplied.
template <class Sums> struct __align__(16) Strips { typename Sums::Line rows[2][Sums::ROWS], columns[2][Sums::COLUMNS]; };

// All of a tile's products. `factors.fetch(start)` brings what the next DEPTH steps take into registers, and `factors.keep(rows,
// columns)` puts it into shared memory. The step after the last may be number 2^31.
template <class Sums, class Factors>
__device__ void multiply(Sums& sums, Strips<Sums>& strips, Factors& factors, unsigned start, unsigned stop) {
  if (start < stop) factors.fetch(start);
  for (int which = 0; start < stop; which = 1 - which) {
    factors.keep(strips.rows[which], strips.columns[which]);
    __syncthreads();
    start += DEPTH;
    if (start < stop) factors.fetch(start);
    sums.add(strips.rows[which], strips.columns[which]);
  }
}

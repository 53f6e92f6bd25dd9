// Functions of single elements, each as one loop: what is computed on the way stays in registers. traced.py follows a function and
// writes its steps before this file. Without, they are those of an example, a0 = c0 * a0 + a1.
#ifndef STEPS
#define N_ARRAYS 2
#define N_NUMBERS 1
#define MOST 128
#define ARRAYS real *a0, real *a1
#define FOUND real *a0 = all.arrays[0][which], *a1 = all.arrays[1][which];
#define STEPS                                \
  real v0 = a0[t], v1 = a1[t], c0 = told[0]; \
  auto v2 = c0 * v0;                         \
  auto v3 = v2 + v1;                         \
  a0[t] = v3;
#endif

typedef Told<real, N_NUMBERS> Numbers;
template <class T> __device__ T smaller(T a, T b) { return a < b || a != a ? a : b; }  // NaN before all, as in `larger`
__device__ inline real sigmoid(real x) { return 1 / (1 + exp(-x)); }

// On one element of each of some arrays of one size.
extern "C" __global__ void one(ARRAYS, int n, const __grid_constant__ Numbers told) {
  int t = THREAD;
  if (t >= n) return;
  STEPS
}

// On many such rows of arrays in one launch, as if they lay end to end: a launch can be given 4 KB, and these are where they are.
// A row is worked on by the blocks from `first` on, up to the first of the next.
struct Rows {
  real* arrays[N_ARRAYS][MOST];
  int sizes[MOST], first[MOST], count;
};

extern "C" __global__ void many(const __grid_constant__ Rows all, const __grid_constant__ Numbers told) {
  int which = 0;  // the last row whose first block is not beyond this one, found by halving
  for (int high = all.count; high - which > 1;) {
    int middle = (which + high) / 2;
    if (all.first[middle] <= int(blockIdx.x)) which = middle;
    else high = middle;
  }
  int t = (int(blockIdx.x) - all.first[which]) * blockDim.x + threadIdx.x;
  if (t >= all.sizes[which]) return;
  FOUND
  STEPS
}

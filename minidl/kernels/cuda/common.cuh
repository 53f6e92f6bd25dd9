// What stands before every .cu file of this folder; `loader.py` puts it there.
//
// `real` is the type of the numbers: the loader compiles a file once for each type it is asked for, with -DREAL=float and so on.
// The arrays are contiguous, in C order, and have less than 2^31 elements, so that an `int` counts them. A loop in steps of more than
// one is counted by an `unsigned`: the number after the last may be 2^31 and more.
typedef REAL real;

#ifndef INFINITY  // the compiler for GPUs has no headers of the C library
#define INFINITY __int_as_float(0x7f800000)
#define NAN __int_as_float(0x7fffffff)
#endif

// The number of this thread, where a grid has one dimension.
#define THREAD int(blockIdx.x * blockDim.x + threadIdx.x)

// A number known before the launch, by which to divide without dividing, which takes as long as many products: t / n is
// t * factor / 2^(31 + shift), where factor is 2^(31 + shift) / n, rounded up (Granlund and Montgomery, Division by invariant integers
// using multiplication, PLDI 1994). `loader.divisor` finds them.
struct Divisor {
  int n;
  unsigned factor;
  int shift;
};
#define QUOTIENT(t, name) int(__umulhi(2u * (t), name.factor) >> name.shift)
#define REMAINDER(t, name) ((t) - QUOTIENT(t, name) * name.n)

// N numbers that the host tells a kernel: by value; or, where the launch is part of a step that is captured and repeated, at a
// place in memory, where others are written before each repetition (capture.py).
template <class T, int N> struct Told {
  T numbers[N];
  const T* place;
  __device__ T operator[](int i) const { return place ? place[i] : numbers[i]; }
};

// A window that slides over a picture of H x W pixels; it has K x L taps and I x J positions (`minidl.shapes.Window`).
struct Window {
  int H, W, I, J, K, L, stride_h, stride_w, before_h, before_w, dilation_h, dilation_w;
  // The pixel under tap (k, l) at position (i, j), as row and column; it may lie in the padding.
  __device__ int row(int i, int k) const { return i * stride_h - before_h + k * dilation_h; }
  __device__ int column(int j, int l) const { return j * stride_w - before_w + l * dilation_w; }
  __device__ bool inside(int row, int column) const { return row >= 0 && row < H && column >= 0 && column < W; }
  // The other way round: the position from which tap k falls on a row of pixels, or -1 if there is none.
  __device__ int position(int row, int k) const { return back(row + before_h - k * dilation_h, stride_h, I); }
  __device__ int position_across(int column, int l) const { return back(column + before_w - l * dilation_w, stride_w, J); }
  __device__ static int back(int distance, int stride, int n) {
    int place = stride == 1 ? distance : distance / stride;  // a division takes as long as many products
    return distance >= 0 && place * stride == distance && place < n ? place : -1;
  }
};
// A kernel takes it as WINDOW; `Window window = AS_WINDOW;` also gives the sizes their names.
#define WINDOW const __grid_constant__ Window given_window
#define AS_WINDOW                                                                                               \
  given_window;                                                                                                 \
  [[maybe_unused]] const int H = given_window.H, W = given_window.W, I = given_window.I, J = given_window.J,    \
                             K = given_window.K, L = given_window.L

// The sum, and the largest, of what the 32 threads of a warp have: all of them get it. Halves are folded onto each other, in an
// order that is always the same, so the result is the same every time.
template <class T> __device__ T warp_sum(T value) {
  for (int distance = 16; distance; distance /= 2) value += __shfl_xor_sync(0xffffffffu, value, distance);
  return value;
}
template <class T> __device__ T larger(T a, T b) { return a > b || a != a ? a : b; }  // NaN before all
template <class T> __device__ T warp_max(T value) {
  for (int distance = 16; distance; distance /= 2) value = larger(value, __shfl_xor_sync(0xffffffffu, value, distance));
  return value;
}

// The sum over a block of threads, for all of them: in each warp, then over the warps, of which `warps` has room for
// one number each.
__device__ inline real block_sum(real value, real* warps) {
  value = warp_sum(value);
  __syncthreads();  // all have read what the last sum left there
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = value;
  __syncthreads();
  real sum = 0;
  for (int w = 0; w < int(blockDim.x) / 32; w++) sum += warps[w];
  return sum;
}

// Random numbers without a state: Philox4x32-10 (Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC 2011). It maps a
// counter of four words to four random words, under a key of two. The key is the seed; the counter says which four numbers of
// which draw these are. So every thread can make its own numbers, and they do not depend on how many threads there are.
typedef Told<unsigned long long, 2> Key;  // the seed, and the number of the draw
__device__ inline uint4 philox(unsigned long long which, const Key& key) {
  unsigned long long seed = key[0], draw = key[1];
  uint4 c = make_uint4(unsigned(which), unsigned(which >> 32), unsigned(draw), unsigned(draw >> 32));
  unsigned low = unsigned(seed), high = unsigned(seed >> 32);
  for (int round = 0; round < 10; round++) {
    unsigned a = __umulhi(0xD2511F53u, c.x), b = __umulhi(0xCD9E8D57u, c.z);
    c = make_uint4(b ^ c.y ^ low, 0xCD9E8D57u * c.z, a ^ c.w ^ high, 0xD2511F53u * c.x);
    low += 0x9E3779B9u;
    high += 0xBB67AE85u;
  }
  return c;
}

// Sums over some dimensions. An array is seen as (A, K, B) numbers, which are summed over A and B: the gradient of a bias, say, over
// images and pixels.
#define MOST_THREADS 1024

// A block makes `across` of the K sums: 32 side by side where neighbours in memory belong to different ones, else one; its other
// threads share the numbers of each. Long sums are cut in parts, `out` is (parts, K), and these are summed again, in their order.
// From number `first` on the sums go to an array of their own, `others`.
extern "C" __global__ void __launch_bounds__(MOST_THREADS) sums(
    const real* x, real* out, real* others, int first, int A, int K, Divisor B, int across, int parts) {
  __shared__ real found[MOST_THREADS];
  int k = blockIdx.x * across + threadIdx.x % across, share = blockDim.x / across, part = blockIdx.y;
  unsigned count = A * B.n, step = share * parts;
  real sum = 0;
  if (k < K)
#pragma unroll 4  // so that several numbers are on their way at a time
    for (unsigned e = part * share + threadIdx.x / across; e < count; e += step)
      sum += x[(QUOTIENT(e, B) * K + k) * B.n + REMAINDER(e, B)];
  found[threadIdx.x] = sum;
  for (int half = blockDim.x / 2; half >= across; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) found[threadIdx.x] += found[threadIdx.x + half];
  }
  if (threadIdx.x < across && k < K) *(k < first ? out + part * K + k : others + k - first) = found[threadIdx.x];
}

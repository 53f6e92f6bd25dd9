// Weighted sums along one dimension, seen in the middle of three: (outer, n, inner) to (outer, size, inner). Output o is the sum
// over its entries, those from starts[o] up to starts[o + 1], of the input at sources[entry] times weights[entry].
extern "C" __global__ void resample(
    const real* x, real* out, const int* starts, const int* sources, const real* weights, int total, int n, int size, int inner) {
  int t = THREAD;
  if (t >= total) return;
  int o = t / inner % size;
  const real* column = x + t / inner / size * n * inner + t % inner;
  real sum = 0;
  for (int entry = starts[o]; entry < starts[o + 1]; entry++) sum += column[sources[entry] * inner] * weights[entry];
  out[t] = sum;
}

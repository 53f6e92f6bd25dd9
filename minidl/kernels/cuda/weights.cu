// The weights of a convolution, (G, F, C, taps), as (G, F, taps, C), or `turned` as (G, C, taps, F): what is summed over comes last, so
// that it can be fetched together.
extern "C" __global__ void by_taps(const real* w, real* out, int n, int F, int C, int taps, int turned) {
  int t = THREAD, last = turned ? F : C, first = turned ? C : F;
  if (t >= n) return;
  int b = t % last, tap = t / last % taps, a = t / (last * taps) % first, group = t / (last * taps * first);
  int f = turned ? b : a, c = turned ? a : b;
  out[t] = w[((group * F + f) * C + c) * taps + tap];
}

// Element by element, where CuPy has nothing of its own.

// The error function.
extern "C" __global__ void error_function(const real* x, real* out, int n) {
  int t = THREAD;
  if (t < n) out[t] = erf(x[t]);
}

// max(x, 0), and NaN where x is NaN.
extern "C" __global__ void relu(const real* x, real* out, int n) {
  int t = THREAD;
  if (t < n) out[t] = x[t] <= 0 ? real(0) : x[t];
}

// 0 where `out`, a result of relu, is at most 0, else g.
extern "C" __global__ void relu_grad(const real* g, const real* out, real* gx, int n) {
  int t = THREAD;
  if (t < n) gx[t] = out[t] <= 0 ? real(0) : g[t];
}

// Softmax and its relatives, a line of numbers at a time.
//
// A line has `n` numbers, which lie `inner` apart. Where it lies in one piece (inner = 1) the 32 threads of a warp share it
// (`lanes` = 32), so that they read neighbours; else each thread takes a line of its own (`lanes` = 1), and again threads that
// are neighbours read neighbours. exp(x - largest) cannot overflow.

#define LINE                                                                                            \
  int line = THREAD / lanes, lane = THREAD % lanes;                                                     \
  if (line >= lines) return; /* lines are whole warps, so none is left waiting for another */           \
  int first = line / inner * n * inner + line % inner;

__device__ inline real share_sum(real value, int lanes) { return lanes == 32 ? warp_sum(value) : value; }
__device__ inline real share_max(real value, int lanes) { return lanes == 32 ? warp_max(value) : value; }

__device__ inline real largest_of(const real* x, int n, int inner, int lane, int lanes) {
  real top = -INFINITY;
  for (int i = lane; i < n; i += lanes) top = larger(x[i * inner], top);
  return share_max(top, lanes);
}
__device__ inline real exponentials_of(const real* x, real top, int n, int inner, int lane, int lanes) {
  real sum = 0;
  for (int i = lane; i < n; i += lanes) sum += exp(x[i * inner] - top);
  return share_sum(sum, lanes);
}

// exp(x) / sum(exp(x)), or its logarithm.
extern "C" __global__ void softmax(const real* x, real* out, int logarithm, int lines, int n, int inner, int lanes) {
  LINE
  real top = largest_of(x + first, n, inner, lane, lanes), sum = exponentials_of(x + first, top, n, inner, lane, lanes);
  for (int i = lane; i < n; i += lanes) {
    real distance = x[first + i * inner] - top;
    out[first + i * inner] = logarithm ? distance - log(sum) : exp(distance) / sum;
  }
}

// From the result `out`: out * (g - sum(g * out)), or of the logarithm g - exp(out) * sum(g).
extern "C" __global__ void softmax_grad(
    const real* g, const real* out, real* gx, int logarithm, int lines, int n, int inner, int lanes) {
  LINE
  real sum = 0;
  for (int i = lane; i < n; i += lanes) sum += g[first + i * inner] * (logarithm ? real(1) : out[first + i * inner]);
  sum = share_sum(sum, lanes);
  for (int i = lane; i < n; i += lanes) {
    real a = g[first + i * inner], y = out[first + i * inner];
    gx[first + i * inner] = logarithm ? a - exp(y) * sum : y * (a - sum);
  }
}

// log(softmax(x)) at one place of each line, as cross-entropy wants it. A place that is not in the line gives NaN.
extern "C" __global__ void log_softmax_at(
    const real* x, const long long* places, real* out, int lines, int n, int inner, int lanes) {
  LINE
  real top = largest_of(x + first, n, inner, lane, lanes), sum = exponentials_of(x + first, top, n, inner, lane, lanes);
  long long place = places[line];
  if (lane == 0) out[line] = place >= 0 && place < n ? x[first + int(place) * inner] - top - log(sum) : real(NAN);
}

// Its gradient: g * (1 at the place and 0 elsewhere, less softmax(x)).
extern "C" __global__ void log_softmax_at_grad(
    const real* g, const real* x, const long long* places, real* gx, int lines, int n, int inner, int lanes) {
  LINE
  real top = largest_of(x + first, n, inner, lane, lanes), sum = exponentials_of(x + first, top, n, inner, lane, lanes);
  for (int i = lane; i < n; i += lanes)
    gx[first + i * inner] = g[line] * (real(i == places[line]) - exp(x[first + i * inner] - top) / sum);
}

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
  for (unsigned i = lane; i < n; i += lanes) top = larger(x[i * inner], top);
  return share_max(top, lanes);
}
__device__ inline real exponentials_of(const real* x, real top, int n, int inner, int lane, int lanes) {
  real sum = 0;
  for (unsigned i = lane; i < n; i += lanes) sum += exp(x[i * inner] - top);
  return share_sum(sum, lanes);
}

// exp(x) / sum(exp(x)), or its logarithm.
extern "C" __global__ void softmax(const real* x, real* out, int logarithm, int lines, int n, int inner, int lanes) {
  LINE
  real top = largest_of(x + first, n, inner, lane, lanes), sum = exponentials_of(x + first, top, n, inner, lane, lanes);
  for (unsigned i = lane; i < n; i += lanes) {
    real distance = x[first + i * inner] - top;
    out[first + i * inner] = logarithm ? distance - log(sum) : exp(distance) / sum;
  }
}

// From the result `out`: out * (g - sum(g * out)), or of the logarithm g - exp(out) * sum(g).
extern "C" __global__ void softmax_grad(
    const real* g, const real* out, real* gx, int logarithm, int lines, int n, int inner, int lanes) {
  LINE
  real sum = 0;
  for (unsigned i = lane; i < n; i += lanes) sum += g[first + i * inner] * (logarithm ? real(1) : out[first + i * inner]);
  sum = share_sum(sum, lanes);
  for (unsigned i = lane; i < n; i += lanes) {
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

// Its gradient: g * (1 at the place and 0 elsewhere, less softmax(x)). Of a loss there is one `g` for all lines, if not for `each`,
// and `slopes` that the lines have.
extern "C" __global__ void log_softmax_at_grad(
    const real* g, const real* x, const long long* places, real* gx, int each, const real* slopes, int lines, int n,
    int inner, int lanes) {
  LINE
  real top = largest_of(x + first, n, inner, lane, lanes), sum = exponentials_of(x + first, top, n, inner, lane, lanes);
  real factor = g[each ? line : 0] * (slopes ? slopes[line] : real(1));
  for (unsigned i = lane; i < n; i += lanes)
    gx[first + i * inner] = factor * (real(i == places[line]) - exp(x[first + i * inner] - top) / sum);
}

// -- losses over classes

#define THREADS 256  // in a block

// From the sums of all parts, in a block that knows them: the loss, divided, as the slopes are, by the sum of the shares if it is a
// mean; and whether a class was wrong.
__device__ void finish(const real* sums, int mean, real* loss, real* slopes, bool* wrong, int lines) {
  if (THREAD == 0) {
    *loss = mean ? sums[0] / sums[1] : sums[0];  // 0 / 0, where nothing counts; then nothing has a share
    *wrong = sums[2] > 0;
  }
  for (unsigned line = THREAD; mean && line < lines; line += gridDim.x * THREADS) slopes[line] /= sums[1] == 0 ? real(1) : sums[1];
}

// The loss of each line is minus log(softmax(x)) (or x itself, of log-probabilities: `soft` = 0) at its class, times its share: the
// weight of the class, or 1, and 0 where the class is `ignored`. A class that there is not gives NaN, and is counted in `parts`:
// the sums of losses, shares and such classes, by block. `slopes` are minus the shares, `places` the classes, 0 where ignored; the
// losses themselves are written if they are wanted. A single block has no `parts`, and does
// itself what `class_loss` does after several.
extern "C" __global__ void __launch_bounds__(THREADS) class_losses(
    const real* x, const long long* classes, const real* weight, long long ignored, int soft,
    real* losses, real* slopes, long long* places, real* parts, int mean, real* all, bool* any_wrong, int lines, int n, int inner,
    int lanes) {
  int line = THREAD / lanes, lane = THREAD % lanes, first = line / inner * n * inner + line % inner;
  real top = 0, rest = 0, share = 0, loss = 0;
  bool wrong = false;
  if (soft && line < lines) {
    top = largest_of(x + first, n, inner, lane, lanes);
    rest = log(exponentials_of(x + first, top, n, inner, lane, lanes));
  }
  if (line < lines && lane == 0) {
    long long place = classes[line];
    bool counted = place != ignored, known = place >= 0 && place < n;
    wrong = counted && !known;
    if (counted) {  // not 0 * loss: what is ignored may be infinite
      share = weight && known ? weight[place] : real(1);
      loss = known ? (rest - (x[first + int(place) * inner] - top)) * share : real(NAN);
    }
    if (losses) losses[line] = loss;
    slopes[line] = -share;
    places[line] = counted ? place : 0;
  }
  __shared__ real warps[THREADS / 32];
  real sums[] = {block_sum(loss, warps), block_sum(share, warps), block_sum(wrong, warps)};
  for (int i = 0; parts && threadIdx.x == 0 && i < 3; i++) parts[i * gridDim.x + blockIdx.x] = sums[i];
  if (!parts) finish(sums, mean, all, slopes, any_wrong, lines);
}

extern "C" __global__ void __launch_bounds__(THREADS) class_loss(
    const real* parts, int n_parts, int mean, real* loss, real* slopes, bool* wrong, int lines) {
  __shared__ real warps[THREADS / 32];
  real sums[3];
  for (int i = 0; i < 3; i++) {
    real value = 0;
    for (int part = threadIdx.x; part < n_parts; part += THREADS) value += parts[i * n_parts + part];
    sums[i] = block_sum(value, warps);
  }
  finish(sums, mean, loss, slopes, wrong, lines);
}

// Normalisation. An array is seen as lines: the `count` = outer * inner numbers over which the mean is taken; they lie in `outer`
// runs of `inner`, and the runs of all `lines` take turns. Of (N, C, H, W), batch normalisation has N runs of H * W in each of
// C lines, and layer normalisation over (C, H, W) one run in each of N lines.
//
// A parameter that is broadcast is an array with the rule which of its numbers belongs to element t: t / repeat % period.

#define RULE(name) const real *name, int name##_repeat, int name##_period
#define AT(name, t) name[(t) / name##_repeat % name##_period]
#define MOST_WARPS 32

// The sum over a block of threads, for all of them: in each warp, then over the warps.
__device__ inline real block_sum(real value, real* warps) {
  value = warp_sum(value);
  __syncthreads();  // all have read what the last sum left there
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = value;
  __syncthreads();
  real sum = 0;
  for (int w = 0; w < int(blockDim.x) / 32; w++) sum += warps[w];
  return sum;
}
__device__ inline int element(int r, int line, int lines, int inner) { return (r / inner * lines + line) * inner + r % inner; }

// The mean of each line, unless that is given, and the mean square of the distances from it. Two passes: the square of a small
// distance is exact enough where the difference of two large squares is not.
extern "C" __global__ void moments(
    const real* x, real* center, real* variance, int own_center, int lines, int outer, int inner) {
  __shared__ real warps[MOST_WARPS];
  int line = blockIdx.x, count = outer * inner;
  real mean = own_center ? real(0) : center[line];
  if (own_center) {
    for (int r = threadIdx.x; r < count; r += blockDim.x) mean += x[element(r, line, lines, inner)];
    mean = block_sum(mean, warps) / count;
  }
  real square = 0, rest = 0;
  for (int r = threadIdx.x; r < count; r += blockDim.x) {
    real distance = x[element(r, line, lines, inner)] - mean;
    square += distance * distance;
    rest += distance;
  }
  square = block_sum(square, warps) / count;
  rest = block_sum(rest, warps) / count;  // what rounding the sum of large numbers has cost the mean
  if (threadIdx.x == 0) {
    if (own_center) center[line] = mean + rest;
    variance[line] = own_center ? square - rest * rest : square;
  }
}

// (x - center) / sqrt(variance + eps) * weight + bias.
extern "C" __global__ void normalise(
    const real* x, real* out, int n, RULE(center), RULE(variance), int with_weight, RULE(weight), int with_bias, RULE(bias), real eps) {
  int t = THREAD;
  if (t >= n) return;
  real y = (x[t] - AT(center, t)) / sqrt(AT(variance, t) + eps);
  if (with_weight) y *= AT(weight, t);
  if (with_bias) y += AT(bias, t);
  out[t] = y;
}

// For each line the sums of g * weight, and of g * weight * standard, where standard = (x - center) / sqrt(variance + eps).
extern "C" __global__ void line_sums(
    const real* g, const real* x, real* plain, real* along, int lines, int outer, int inner, RULE(center), RULE(variance),
    int with_weight, RULE(weight), real eps) {
  __shared__ real warps[MOST_WARPS];
  int line = blockIdx.x;
  real sum = 0, product = 0;
  for (int r = threadIdx.x; r < outer * inner; r += blockDim.x) {
    int t = element(r, line, lines, inner);
    real a = with_weight ? g[t] * AT(weight, t) : g[t];
    sum += a;
    product += a * ((x[t] - AT(center, t)) / sqrt(AT(variance, t) + eps));
  }
  sum = block_sum(sum, warps);
  product = block_sum(product, warps);
  if (threadIdx.x == 0) {
    plain[line] = sum;
    along[line] = product;
  }
}

// The gradient of x: g * weight, less the part that shifts a line's own center and the part that stretches its own variance.
extern "C" __global__ void input_grad(
    const real* g, const real* x, real* gx, int n, RULE(plain), RULE(along), RULE(center), RULE(variance), int with_weight,
    RULE(weight), int own_center, int own_variance, real count, real eps) {
  int t = THREAD;
  if (t >= n) return;
  real scale = 1 / sqrt(AT(variance, t) + eps), standard = (x[t] - AT(center, t)) * scale;
  real a = with_weight ? g[t] * AT(weight, t) : g[t];
  if (own_center) a -= AT(plain, t) / count;
  if (own_variance) a -= standard * (AT(along, t) / count);
  gx[t] = a * scale;
}

// The gradients of weight and bias: sums of g * standard and of g over all elements that have the same one, p = t / repeat % period.
// A block has `across` of these side by side, and for each 256 / across threads that share the elements; `parts` blocks share
// them further, and their sums, (parts, 2, period), are added up afterwards.
extern "C" __global__ void __launch_bounds__(256) parameter_sums(
    const real* g, const real* x, real* sums, int n, int repeat, int period, int across, int parts, RULE(center), RULE(variance),
    real eps) {
  __shared__ real products[256], plains[256];
  int p = blockIdx.x * across + threadIdx.x % across, walker = threadIdx.x / across, walkers = 256 / across;
  real product = 0, plain = 0;
  if (p < period)
    for (int r = blockIdx.y * walkers + walker; r < n / period; r += walkers * parts) {
      int t = (r / repeat * period + p) * repeat + r % repeat;
      product += g[t] * ((x[t] - AT(center, t)) / sqrt(AT(variance, t) + eps));
      plain += g[t];
    }
  products[threadIdx.x] = product;
  plains[threadIdx.x] = plain;
  __syncthreads();
  for (int half = walkers / 2; half; half /= 2) {
    if (walker < half) {
      products[threadIdx.x] += products[threadIdx.x + half * across];
      plains[threadIdx.x] += plains[threadIdx.x + half * across];
    }
    __syncthreads();
  }
  if (walker == 0 && p < period) {
    sums[(blockIdx.y * 2 + 0) * period + p] = products[threadIdx.x];
    sums[(blockIdx.y * 2 + 1) * period + p] = plains[threadIdx.x];
  }
}

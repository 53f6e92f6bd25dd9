// Attention without the matrix of its weights: Dao et al., FlashAttention, 2022. Letters as in sequences/attention.py.
//
// A block of 16 x 16 threads has some rows for its own (queries; in back_keys keys) and walks along the columns (keys; queries), a
// tile at a time: the products of the rows with the columns, from them the weights, and with the weights the sum of what belongs
// to the columns. Forward, the largest score of a row and the sum of its exponentials are those of the columns so far, and what
// was added up before is made smaller when a larger score comes. Of a row only `lse`, the logarithm of that sum, is kept; on the way
// back the same weights are made from it again, once for the gradient of the queries and once for that of keys and values, so that
// no two blocks add to one place.
#ifndef E  // features, up to a multiple of 16; and how many rows and columns, so that a block needs at most 48 KB of shared memory
#define E 64
#define V 64
#define ROWS 32
#define BACK_ROWS 16
#define COLUMNS 16
#endif
#define SIDE 16
#define THREADS 256  // SIDE * SIDE
#define EACH(n) (((n) + SIDE - 1) / SIDE)  // of n numbers each of SIDE threads has so many
#define PITCH(n) (EACH(n) * SIDE + 1)      // the length of a row in shared memory, odd for the sake of its banks

// The pair of an example and a head that a block works on, and what is masked and dropped there.
struct Pair {
  int n, h, H, L, S, e, v, turned;  // `turned`: a bit for each array that lies as (N, L, H, features), not as (N, H, L, features)
  const bool* seen;           // the mask's two kinds; which of them it is, `masks` tells
  const real* added;
  int masks, per_n, per_h, per_l, per_s, causal, drops;
  unsigned below;  // what random words are kept
  real factor;     // of a weight that is kept
  Key key;
  // Where row `l` of an array stands, which has `length` rows of `width` features.
  __device__ int row(int array, int l, int length, int width) const {
    return (turned >> array & 1 ? (n * length + l) * H + h : (n * H + h) * length + l) * width;
  }
  __device__ real score(real product, int l, int s) const {
    if (l >= L || s >= S || (causal && s > l)) return -INFINITY;
    int place = n * per_n + h * per_h + l * per_l + s * per_s;
    if (masks == 1 && !seen[place]) return -INFINITY;
    return masks == 2 ? product + added[place] : product;
  }
  __device__ real kept(int l, int s) const {  // the factor of a weight
    if (!drops) return 1;
    unsigned long long which = (static_cast<unsigned long long>(n * H + h) * ((L + 3) / 4) + l / 4) * S + s;
    uint4 words = philox(which, key);
    unsigned word = l % 4 == 0 ? words.x : l % 4 == 1 ? words.y : l % 4 == 2 ? words.z : words.w;
    return word < below ? factor : real(0);
  }
};
#define PAIR                                                                                                             \
  int H, int L, int S, int e, int v, int turned, const bool *seen, const real *added, int masks, int per_n, int per_h, int per_l,     \
      int per_s, int causal, int drops, unsigned below, real factor, real scale, const __grid_constant__ Key key
#define AS_PAIR(pair) \
  Pair { (pair) / H, (pair) % H, H, L, S, e, v, turned, seen, added, masks, per_n, per_h, per_l, per_s, causal, drops, below, factor, key }

// Rows from `first` on, times a factor; 0 beyond the last row and the last feature.
template <int N, int W>
__device__ void load(real (&to)[N][W], const real* from, const Pair& at, int array, int first, int length, int width, real factor) {
  for (int i = threadIdx.x; i < N * (W - 1); i += THREADS) {
    int l = i / (W - 1), e = i % (W - 1);
    to[l][e] = first + l < length && e < width ? factor * from[at.row(array, first + l, length, width) + e] : real(0);
  }
}

// Each thread has the rows EACH(N) * down + i, and the columns across + SIDE * j.
#define down int(threadIdx.x / SIDE)
#define across int(threadIdx.x % SIDE)
template <int N, int M, int W>
__device__ void products(const real (&a)[N][W], const real (&b)[M][W], real (&found)[EACH(N)][EACH(M)]) {
#pragma unroll
  for (int i = 0; i < EACH(N); i++)
#pragma unroll
    for (int j = 0; j < EACH(M); j++) found[i][j] = 0;
#pragma unroll 4
  for (int f = 0; f < W - 1; f++)
#pragma unroll
    for (int i = 0; i < EACH(N); i++)
#pragma unroll
      for (int j = 0; j < EACH(M); j++) found[i][j] += a[down * EACH(N) + i][f] * b[across + SIDE * j][f];
}
template <int N, int M, int W>
__device__ void add_weighted(const real (&w)[N][M + 1], const real (&b)[M][W], real (&sum)[EACH(N)][(W - 1) / SIDE]) {
#pragma unroll 4
  for (int m = 0; m < M; m++)
#pragma unroll
    for (int i = 0; i < EACH(N); i++)
#pragma unroll
      for (int j = 0; j < (W - 1) / SIDE; j++) sum[i][j] += w[down * EACH(N) + i][m] * b[m][across + SIDE * j];
}
template <int N, int J>
__device__ void store(real* to, const Pair& at, int array, int first, int length, int width, const real (&from)[N][J], real factor) {
#pragma unroll
  for (int i = 0; i < N; i++)
#pragma unroll
    for (int j = 0; j < J; j++) {
      int l = first + down * N + i, e = across + SIDE * j;
      if (l < length && e < width) to[at.row(array, l, length, width) + e] = factor * from[i][j];
    }
}

// The threads of a row are half a warp.
__device__ inline real row_max(real x) {
  for (int distance = SIDE / 2; distance; distance /= 2) x = larger(x, __shfl_xor_sync(0xffffffffu, x, distance));
  return x;
}
__device__ inline real row_sum(real x) {
  for (int distance = SIDE / 2; distance; distance /= 2) x += __shfl_xor_sync(0xffffffffu, x, distance);
  return x;
}

extern "C" __global__ void __launch_bounds__(THREADS, 1) forward(
    const real* queries, const real* keys, const real* values, real* out, real* lse, int tiles, PAIR) {
  __shared__ real a[ROWS][PITCH(E)], b[COLUMNS][PITCH(E)], c[COLUMNS][PITCH(V)], w[ROWS][COLUMNS + 1];
  Pair at = AS_PAIR(int(blockIdx.x) / tiles);
  int first = (tiles - 1 - int(blockIdx.x) % tiles) * ROWS;  // where causal, those with most to do begin
  int stop = causal ? min(S, first + ROWS) : S;
  load(a, queries, at, 0, first, L, e, scale);
  real top[EACH(ROWS)], total[EACH(ROWS)], sum[EACH(ROWS)][EACH(V)] = {};
#pragma unroll
  for (int i = 0; i < EACH(ROWS); i++) {
    top[i] = -INFINITY;
    total[i] = 0;
  }
  for (int start = 0; start < stop; start += COLUMNS) {
    __syncthreads();  // nobody reads the last tile any more
    load(b, keys, at, 1, start, S, e, 1);
    load(c, values, at, 2, start, S, v, 1);
    __syncthreads();
    real s[EACH(ROWS)][EACH(COLUMNS)];
    products(a, b, s);
#pragma unroll
    for (int i = 0; i < EACH(ROWS); i++) {
      int l = first + down * EACH(ROWS) + i;
      real largest = top[i], part = 0;
#pragma unroll
      for (int j = 0; j < EACH(COLUMNS); j++) {
        s[i][j] = at.score(s[i][j], l, start + across + SIDE * j);
        largest = larger(s[i][j], largest);
      }
      largest = row_max(largest);
      real base = largest == -INFINITY ? real(0) : largest, fade = exp(top[i] - base);
      top[i] = largest;
#pragma unroll
      for (int j = 0; j < EACH(COLUMNS); j++) {
        real weight = exp(s[i][j] - base);
        part += weight;
        w[down * EACH(ROWS) + i][across + SIDE * j] = weight * at.kept(l, start + across + SIDE * j);
      }
      total[i] = total[i] * fade + row_sum(part);
#pragma unroll
      for (int j = 0; j < EACH(V); j++) sum[i][j] *= fade;
    }
    __syncthreads();
    add_weighted(w, c, sum);
  }
#pragma unroll
  for (int i = 0; i < EACH(ROWS); i++) {
    int l = first + down * EACH(ROWS) + i;
    bool blind = total[i] == 0;  // sees no key
#pragma unroll
    for (int j = 0; j < EACH(V); j++) sum[i][j] = blind ? real(0) : sum[i][j] / total[i];
    if (l < L && across == 0) lse[(at.n * H + at.h) * L + l] = blind ? real(0) : top[i] + log(total[i]);
  }
  store(out, at, 3, first, L, v, sum, 1);
}

// The mean of the weights' gradient, g * out summed over the features, which the softmax takes away: a warp for each query.
extern "C" __global__ void means(const real* g, const real* out, real* mean, int n, PAIR) {
  int which = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (which >= n) return;
  Pair at = AS_PAIR(which / L);
  real sum = 0;
  for (int f = lane; f < v; f += 32) sum += g[at.row(4, which % L, L, v) + f] * out[at.row(3, which % L, L, v) + f];
  sum = warp_sum(sum);
  if (lane == 0) mean[which] = sum;
}

extern "C" __global__ void __launch_bounds__(THREADS, 1) back_queries(
    const real* queries, const real* keys, const real* values, const real* g, const real* lse, const real* mean, real* gq,
    int tiles, PAIR) {
  __shared__ real a[BACK_ROWS][PITCH(E)], ag[BACK_ROWS][PITCH(V)], b[COLUMNS][PITCH(E)], c[COLUMNS][PITCH(V)];
  __shared__ real w[BACK_ROWS][COLUMNS + 1];
  Pair at = AS_PAIR(int(blockIdx.x) / tiles);
  int first = (tiles - 1 - int(blockIdx.x) % tiles) * BACK_ROWS, stop = causal ? min(S, first + BACK_ROWS) : S;
  load(a, queries, at, 0, first, L, e, scale);
  load(ag, g, at, 4, first, L, v, 1);
  real sum[EACH(BACK_ROWS)][EACH(E)] = {};
  for (int start = 0; start < stop; start += COLUMNS) {
    __syncthreads();
    load(b, keys, at, 1, start, S, e, 1);
    load(c, values, at, 2, start, S, v, 1);
    __syncthreads();
    real s[EACH(BACK_ROWS)][EACH(COLUMNS)], gs[EACH(BACK_ROWS)][EACH(COLUMNS)];
    products(a, b, s);
    products(ag, c, gs);
#pragma unroll
    for (int i = 0; i < EACH(BACK_ROWS); i++)
#pragma unroll
      for (int j = 0; j < EACH(COLUMNS); j++) {
        int l = first + down * EACH(BACK_ROWS) + i, column = across + SIDE * j, line = (at.n * H + at.h) * L + l;
        real score = at.score(s[i][j], l, start + column);
        bool there = l < L;
        real weight = there ? exp(score - lse[line]) : real(0);
        w[down * EACH(BACK_ROWS) + i][column] = there ? weight * (gs[i][j] * at.kept(l, start + column) - mean[line]) : real(0);
      }
    __syncthreads();
    add_weighted(w, b, sum);
  }
  store(gq, at, 5, first, L, e, sum, scale);
}

extern "C" __global__ void __launch_bounds__(THREADS, 1) back_keys(
    const real* queries, const real* keys, const real* values, const real* g, const real* lse, const real* mean, real* gk,
    real* gv, int tiles, PAIR) {
  __shared__ real a[BACK_ROWS][PITCH(E)], av[BACK_ROWS][PITCH(V)], b[COLUMNS][PITCH(E)], c[COLUMNS][PITCH(V)];
  __shared__ real w[BACK_ROWS][COLUMNS + 1];
  Pair at = AS_PAIR(int(blockIdx.x) / tiles);
  int first = int(blockIdx.x) % tiles * BACK_ROWS, start = causal ? first / COLUMNS * COLUMNS : 0;
  load(a, keys, at, 1, first, S, e, 1);
  load(av, values, at, 2, first, S, v, 1);
  real sum[EACH(BACK_ROWS)][EACH(E)] = {}, sum_v[EACH(BACK_ROWS)][EACH(V)] = {};
  for (; start < L; start += COLUMNS) {
    __syncthreads();
    load(b, queries, at, 0, start, L, e, scale);
    load(c, g, at, 4, start, L, v, 1);
    __syncthreads();
    real s[EACH(BACK_ROWS)][EACH(COLUMNS)], gs[EACH(BACK_ROWS)][EACH(COLUMNS)];
    products(a, b, s);
    products(av, c, gs);
#pragma unroll
    for (int i = 0; i < EACH(BACK_ROWS); i++)
#pragma unroll
      for (int j = 0; j < EACH(COLUMNS); j++) {
        int key_row = down * EACH(BACK_ROWS) + i, column = across + SIDE * j, l = start + column;
        int line = (at.n * H + at.h) * L + l;
        real score = at.score(s[i][j], l, first + key_row), kept = at.kept(l, first + key_row);
        bool there = l < L;
        real weight = there ? exp(score - lse[line]) : real(0);
        w[key_row][column] = weight * kept;
        s[i][j] = there ? weight * (gs[i][j] * kept - mean[line]) : real(0);
      }
    __syncthreads();
    add_weighted(w, c, sum_v);
    __syncthreads();
#pragma unroll
    for (int i = 0; i < EACH(BACK_ROWS); i++)
#pragma unroll
      for (int j = 0; j < EACH(COLUMNS); j++) w[down * EACH(BACK_ROWS) + i][across + SIDE * j] = s[i][j];
    __syncthreads();
    add_weighted(w, b, sum);
  }
  store(gk, at, 6, first, S, e, sum, 1);
  store(gv, at, 7, first, S, v, sum_v, 1);
}

// The factors of all weights, for a sweep that is itself differentiated.
extern "C" __global__ void factors(real* out, int n, PAIR) {
  int t = THREAD;
  if (t < n) out[t] = AS_PAIR(t / S / L).kept(t / S % L, t % S);
}

// Pooling, and windows as columns. One thread makes one number of the result: it reads what belongs to it, and no two threads
// write to the same place. So a gradient that is spread over windows is gathered from them instead, pixel by pixel.
typedef TAP tap_type;  // of the numbers of taps

// The largest pixel of each window, a NaN before all; 0 in its place where `cut` and it is below (a ReLU).
// If `taps` are wanted also which tap, k * L + l, that was: of equal ones the first, of NaNs the last.
extern "C" __global__ void max_pool2d(const real* x, real* out, tap_type* taps, int n, int cut, real lowest, WINDOW) {
  Window w = AS_WINDOW;
  int t = THREAD;
  if (t >= n) return;
  int i = t / w.J % w.I, j = t % w.J;
  const real* picture = x + t / (w.I * w.J) * (w.H * w.W);
  real best = lowest;
  int which = -1;
  for (int k = 0; k < w.K; k++)
    for (int l = 0; l < w.L; l++) {
      int row = w.row(i, k), column = w.column(j, l);
      if (!w.inside(row, column)) continue;
      real value = picture[row * w.W + column];
      if (which < 0 || value > best || value != value) {
        best = value;
        which = k * w.L + l;
      }
    }
  out[t] = cut && best <= 0 ? real(0) : best;
  if (taps) taps[t] = which;
}

// The number of the tap at which the maximum `out` stands.
extern "C" __global__ void max_pool2d_taps(const real* x, const real* out, tap_type* taps, int n, WINDOW) {
  Window w = AS_WINDOW;
  int t = THREAD;
  if (t >= n) return;
  int i = t / w.J % w.I, j = t % w.J, which = -1;
  const real* picture = x + t / (w.I * w.J) * (w.H * w.W);
  for (int k = 0; k < w.K; k++)
    for (int l = 0; l < w.L; l++) {
      int row = w.row(i, k), column = w.column(j, l);
      if (!w.inside(row, column)) continue;
      real value = picture[row * w.W + column];
      if (value != value || (which < 0 && value == out[t])) which = k * w.L + l;
    }
  taps[t] = which;
}

// Each pixel gets the g of all positions whose tap points at it.
extern "C" __global__ void max_pool2d_place(const real* g, const tap_type* taps, real* gx, int n, WINDOW) {
  Window w = AS_WINDOW;
  int t = THREAD;
  if (t >= n) return;
  int row = t / w.W % w.H, column = t % w.W, first = t / (w.H * w.W) * (w.I * w.J);
  real sum = 0;
  for (int k = 0; k < w.K; k++)
    for (int l = 0; l < w.L; l++) {
      int i = w.position(row, k), j = w.position_across(column, l);
      if (i >= 0 && j >= 0 && taps[first + i * w.J + j] == k * w.L + l) sum += g[first + i * w.J + j];
    }
  gx[t] = sum;
}

// The gradient of max-pooling where each pixel is in just one window: each thread finds the largest pixel of its own, which gets g.
extern "C" __global__ void max_pool2d_grad(const real* g, const real* x, real* gx, int n, WINDOW) {
  Window w = AS_WINDOW;
  int t = THREAD;
  if (t >= n) return;
  int first = (t / J * w.K * W) + t % J * w.L, which = first;  // pixels of all pictures are numbered on, row by row
  for (int k = 0; k < w.K; k++)
    for (int l = 0; l < w.L; l++) {
      int pixel = first + k * W + l;
      if (x[pixel] > x[which] || x[pixel] != x[pixel]) which = pixel;
    }
  for (int k = 0; k < w.K; k++)
    for (int l = 0; l < w.L; l++) {
      int pixel = first + k * W + l;
      gx[pixel] = pixel == which ? g[t] : real(0);
    }
}

// The pixel that each tap points at; 0 where it points at none.
extern "C" __global__ void max_pool2d_pick(const real* x, const tap_type* taps, real* out, int n, WINDOW) {
  Window w = AS_WINDOW;
  int t = THREAD;
  if (t >= n) return;
  int i = t / w.J % w.I, j = t % w.J, which = taps[t];
  int row = w.row(i, which / w.L), column = w.column(j, which % w.L);
  bool there = which >= 0 && w.inside(row, column);
  out[t] = there ? x[t / (w.I * w.J) * (w.H * w.W) + row * w.W + column] : real(0);
}

// The sum of each window.
extern "C" __global__ void sum_pool2d(const real* x, real* out, int n, WINDOW) {
  Window w = AS_WINDOW;
  int t = THREAD;
  if (t >= n) return;
  int i = t / w.J % w.I, j = t % w.J;
  const real* picture = x + t / (w.I * w.J) * (w.H * w.W);
  real sum = 0;
  for (int k = 0; k < w.K; k++)
    for (int l = 0; l < w.L; l++) {
      int row = w.row(i, k), column = w.column(j, l);
      if (w.inside(row, column)) sum += picture[row * w.W + column];
    }
  out[t] = sum;
}

// Each pixel gets the sum of the g of all windows that it is in. The g of position (i, j) under tap (k, l) stands at
// k * tap_row + l * tap_column + i * J + j of its plane: with both 0 it is one number for the whole window (the transpose of
// sum_pool2d), else a number of its own for each tap (the transpose of unfold).
extern "C" __global__ void gather_taps(const real* g, real* gx, int n, int plane, int tap_row, int tap_column, WINDOW) {
  Window w = AS_WINDOW;
  int t = THREAD;
  if (t >= n) return;
  int row = t / w.W % w.H, column = t % w.W;
  const real* seen = g + t / (w.H * w.W) * plane;
  real sum = 0;
  for (int k = 0; k < w.K; k++)
    for (int l = 0; l < w.L; l++) {
      int i = w.position(row, k), j = w.position_across(column, l);
      if (i >= 0 && j >= 0) sum += seen[k * tap_row + l * tap_column + i * w.J + j];
    }
  gx[t] = sum;
}

// What each tap sees at each position, 0 in the padding: (planes, H, W) to (planes, K, L, I, J).
extern "C" __global__ void unfold(const real* x, real* out, int n, WINDOW) {
  Window w = AS_WINDOW;
  int t = THREAD;
  if (t >= n) return;
  int j = t % w.J, i = t / w.J % w.I, tap_number = t / (w.I * w.J) % (w.K * w.L);
  int row = w.row(i, tap_number / w.L), column = w.column(j, tap_number % w.L);
  const real* picture = x + t / (w.I * w.J) / (w.K * w.L) * (w.H * w.W);
  out[t] = w.inside(row, column) ? picture[row * w.W + column] : real(0);
}

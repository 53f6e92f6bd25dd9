// A step of a recurrent network and its derivative, one pass each; the equations are in minidl/sequences/recurrent.py, and what the
// arrays hold is said in steps.py beside it. Of each kind of gate there is an array of n numbers, a unit of one sequence each.

extern "C" __global__ void tanh_step(real* a, const real* s, real* out, int n) {
  int t = THREAD;
  if (t < n) out[t] = a[t] = tanh(a[t] + s[t]);
}

extern "C" __global__ void tanh_back(const real* gh, const real* a, real* ga, int n) {
  int t = THREAD;
  if (t < n) ga[t] = (1 - a[t] * a[t]) * gh[t];
}

extern "C" __global__ void relu_step(real* a, const real* s, real* out, int n) {
  int t = THREAD;
  if (t < n) out[t] = a[t] = larger(a[t] + s[t], real(0));
}

extern "C" __global__ void relu_back(const real* gh, const real* a, real* ga, int n) {
  int t = THREAD;
  if (t < n) ga[t] = a[t] <= 0 ? real(0) : gh[t];
}

// sigmoid(2 * x) where x is halved already by the weights; else `half` is 1/2.
__device__ inline real sigmoid(real x, real half) { return real(0.5) * tanh(x * half) + real(0.5); }

// c holds the old cell state, and `more` will be the tanh of the new one.
extern "C" __global__ void lstm(
    const real* c, real* i, real* f, real* g, real* o, const real* s_i, const real* s_f, const real* s_g, const real* s_o,
    real* new_c, real* more, real* out, int n, real half) {
  int t = THREAD;
  if (t >= n) return;
  real in = sigmoid(i[t] + s_i[t], half), keep = sigmoid(f[t] + s_f[t], half), say = sigmoid(o[t] + s_o[t], half);
  real candidate = tanh(g[t] + s_g[t]), state = c[t] * keep + in * candidate, seen = tanh(state);
  i[t] = in;
  f[t] = keep;
  g[t] = candidate;
  o[t] = say;
  new_c[t] = state;
  more[t] = seen;
  out[t] = say * seen;
}

// gc comes as what later steps want of the new cell state, and leaves as what is wanted of the old one.
extern "C" __global__ void lstm_back(
    const real* gh, real* gc, const real* c, const real* i, const real* f, const real* g, const real* o, const real* more,
    real* g_i, real* g_f, real* g_g, real* g_o, int n) {
  int t = THREAD;
  if (t >= n) return;
  real in = i[t], keep = f[t], candidate = g[t], say = o[t], seen = more[t];
  real wanted = gc[t] + gh[t] * say * (1 - seen * seen);
  g_o[t] = gh[t] * seen * (1 - say) * say;
  g_i[t] = wanted * candidate * (1 - in) * in;
  g_g[t] = wanted * in * (1 - candidate * candidate);
  g_f[t] = wanted * c[t] * (1 - keep) * keep;
  gc[t] = wanted * keep;
}

// `more` will be what r is multiplied with.
extern "C" __global__ void gru(
    real* r, real* z, real* n_gate, const real* s_r, const real* s_z, const real* s_n, const real* h, real* more, real* out, int n,
    real half) {
  int t = THREAD;
  if (t >= n) return;
  real reset = sigmoid(r[t] + s_r[t], half), update = sigmoid(z[t] + s_z[t], half), late = s_n[t];
  real candidate = tanh(n_gate[t] + reset * late);
  r[t] = reset;
  z[t] = update;
  n_gate[t] = candidate;
  more[t] = late;
  out[t] = candidate + update * (h[t] - candidate);
}

// `past` is what goes past the products to the old state. The products with the state have the gradients s_..., which are the same
// as those with the input but for the last.
extern "C" __global__ void gru_back(
    const real* gh, const real* r, const real* z, const real* n_gate, const real* h, const real* more, real* g_r, real* g_z,
    real* g_n, real* s_r, real* s_z, real* s_n, real* past, int n) {
  int t = THREAD;
  if (t >= n) return;
  real reset = r[t], update = z[t], candidate = n_gate[t];
  real by = gh[t] * update, of_n = gh[t] * (1 - update) * (1 - candidate * candidate), late = of_n * reset;
  past[t] = by;
  g_n[t] = of_n;
  s_n[t] = late;
  g_r[t] = s_r[t] = late * more[t] * (1 - reset);
  g_z[t] = s_z[t] = by * (h[t] - candidate) * (1 - update);
}

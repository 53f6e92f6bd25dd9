// The steps of optimisers: everything that is read and written for a parameter in one pass, where array code would take one for
// each operation. The arrays may be whole arenas of parameters laid end to end.

// minidl.optim.SGD. Without a velocity (`moves` = 0) that array is not touched; at the first step it holds zeros, and dampening
// is not yet in force.
extern "C" __global__ void sgd(real* param, const real* grad, real* velocity, int n, real rate, real momentum, real fresh,
                               real decay, int moves, int nesterov, int maximize) {
  int t = THREAD;
  if (t >= n) return;
  real g = maximize ? -grad[t] : grad[t];
  g += decay * param[t];
  if (moves) {
    real v = momentum * velocity[t] + fresh * g;
    velocity[t] = v;
    g = nesterov ? g + momentum * v : v;
  }
  param[t] -= rate * g;
}

// minidl.optim.Adam and AdamW. `rate` is lr / (1 - beta1^t), `root` is sqrt(1 - beta2^t), and `keep` what a decoupled decay leaves
// of the parameter. What is left of 1 without a beta comes as a number of its own: in float32, 1 - 0.999 has few right digits.
extern "C" __global__ void adam(real* param, const real* grad, real* mean, real* square, real* largest, int n, real rate,
                                real fresh1, real beta2, real fresh2, real root, real eps, real decay, real keep, int amsgrad,
                                int maximize) {
  int t = THREAD;
  if (t >= n) return;
  real p = keep * param[t], g = maximize ? -grad[t] : grad[t];
  g += decay * param[t];
  real m = mean[t] + fresh1 * (g - mean[t]), v = beta2 * square[t] + fresh2 * g * g;
  mean[t] = m;
  square[t] = v;
  if (amsgrad) largest[t] = v = larger(v, largest[t]);
  param[t] = p - rate * m / (sqrt(v) / root + eps);
}

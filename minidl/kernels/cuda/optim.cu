// The steps of optimisers: everything that is read and written for a parameter in one pass, where array code would take one for
// each operation; and many parameters in one launch, as if they lay end to end.
#define MOST 80  // of them: a launch can be given 4 KB

// Where they are. One comes to be worked on by the blocks from `first` on, up to the first of the next.
struct Parameters {
  real* arrays[5][MOST];  // of each parameter: itself, its gradient, and what the optimiser keeps of it
  int sizes[MOST], first[MOST], count;
};

// The parameter that this block works on: the last whose first block is not beyond, found by halving.
__device__ inline int parameter_of(const Parameters& all) {
  int low = 0, high = all.count;
  while (high - low > 1) {
    int middle = (low + high) / 2;
    if (all.first[middle] <= int(blockIdx.x)) low = middle;
    else high = middle;
  }
  return low;
}
#define MINE                                                               \
  int which = parameter_of(all);                                           \
  int t = (int(blockIdx.x) - all.first[which]) * blockDim.x + threadIdx.x; \
  if (t >= all.sizes[which]) return;
#define ARRAY(role) all.arrays[role][which]

// minidl.optim.SGD. Without a velocity `moves` is 0; at the first step it holds zeros, and dampening is not yet in force.
typedef Told<real, 7> OfSGD;
extern "C" __global__ void sgd(const __grid_constant__ Parameters all, const __grid_constant__ OfSGD told) {
  MINE
  real rate = told[0], momentum = told[1], fresh = told[2], decay = told[3];
  bool moves = told[4] != 0, nesterov = told[5] != 0, maximize = told[6] != 0;
  real *param = ARRAY(0), *velocity = ARRAY(2);
  real g = maximize ? -ARRAY(1)[t] : ARRAY(1)[t];
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
typedef Told<real, 10> OfAdam;
extern "C" __global__ void adam(const __grid_constant__ Parameters all, const __grid_constant__ OfAdam told) {
  MINE
  real rate = told[0], fresh1 = told[1], beta2 = told[2], fresh2 = told[3], root = told[4], eps = told[5];
  real decay = told[6], keep = told[7];
  bool amsgrad = told[8] != 0, maximize = told[9] != 0;
  real *param = ARRAY(0), *mean = ARRAY(2), *square = ARRAY(3), *largest = ARRAY(4);
  real p = keep * param[t], g = maximize ? -ARRAY(1)[t] : ARRAY(1)[t];
  g += decay * param[t];
  real m = mean[t] + fresh1 * (g - mean[t]), v = beta2 * square[t] + fresh2 * g * g;
  mean[t] = m;
  square[t] = v;
  if (amsgrad) largest[t] = v = larger(v, largest[t]);
  param[t] = p - rate * m / (sqrt(v) / root + eps);
}

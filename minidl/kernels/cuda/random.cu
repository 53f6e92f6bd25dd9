// Random numbers, of the words of Philox (common.cuh).

// From words to numbers in [0, 1): 24 bits for a float, 53 for a double, so that each is exact and 1 is never reached.
#define PER_THREAD int(16 / sizeof(real))
__device__ inline void to_unit(uint4 c, float (&u)[4]) {
  unsigned words[4] = {c.x, c.y, c.z, c.w};
  for (int i = 0; i < 4; i++) u[i] = (words[i] >> 8) * (1.0f / (1 << 24));
}
__device__ inline void to_unit(uint4 c, double (&u)[2]) {
  u[0] = ((static_cast<unsigned long long>(c.y) << 32 | c.x) >> 11) * (1.0 / (1ll << 53));
  u[1] = ((static_cast<unsigned long long>(c.w) << 32 | c.z) >> 11) * (1.0 / (1ll << 53));
}

extern "C" __global__ void bits(unsigned* out, int n, const __grid_constant__ Key key) {
  int t = THREAD;
  uint4 c = philox(t, key);
  unsigned words[4] = {c.x, c.y, c.z, c.w};
  for (int i = 0; i < 4; i++)
    if (4 * t + i < n) out[4 * t + i] = words[i];
}

// Equally likely everywhere in [0, 1).
extern "C" __global__ void uniform(real* out, int n, const __grid_constant__ Key key) {
  int t = THREAD;
  real u[PER_THREAD];
  to_unit(philox(t, key), u);
  for (int i = 0; i < PER_THREAD; i++)
    if (PER_THREAD * t + i < n) out[PER_THREAD * t + i] = u[i];
}

// Normal, by pairs: a radius and an angle (Box and Muller, A note on the generation of random normal deviates, 1958).
extern "C" __global__ void normal(real* out, int n, const __grid_constant__ Key key) {
  int t = THREAD;
  real u[PER_THREAD];
  to_unit(philox(t, key), u);
  for (int i = 0; i < PER_THREAD; i += 2) {
    real radius = sqrt(real(-2) * log(1 - u[i])), across, up;
    sincospi(2 * u[i + 1], &up, &across);
    if (PER_THREAD * t + i < n) out[PER_THREAD * t + i] = radius * across;
    if (PER_THREAD * t + i + 1 < n) out[PER_THREAD * t + i + 1] = radius * up;
  }
}

// Dropout: 0 with probability p, else `value`. The same numbers for every type.
extern "C" __global__ void keep(real* out, int n, float p, real value, const __grid_constant__ Key key) {
  int t = THREAD;
  float u[4];
  to_unit(philox(t, key), u);
  for (int i = 0; i < 4; i++)
    if (4 * t + i < n) out[4 * t + i] = u[i] >= p ? value : real(0);
}

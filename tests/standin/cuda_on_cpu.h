// CUDA C++ kernels on the CPU, for tests: one thread block at a time, one fiber for each CUDA thread.
//
// It shows what a kernel computes, with its barriers and its shared memory, and catches a barrier that is missing or not reached
// by all, and an index outside a shared or local array. It knows nothing of speed, of memory models or of real concurrency:
// what would be a race on a GPU shows as a result that depends on the order of the threads, which can be chosen.
#pragma once
#include <math.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <ucontext.h>
#include <algorithm>
#include <functional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __constant__ static const
#define __shared__ static __attribute__((section("cuda_shared")))
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __syncthreads() emu::block_barrier(__COUNTER__)  // a number of its own wherever it is written
#define __syncwarp(...) emu::warp_barrier()

struct dim3 { unsigned x = 1, y = 1, z = 1; };
static dim3 gridDim, blockDim, blockIdx, threadIdx;
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) uint2 { unsigned x, y; };
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
using std::max; using std::min; using std::isnan; using std::isinf;
inline float rsqrt(float x) { return 1.0f / sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>(static_cast<uint64_t>(a) * b >> 32); }
inline void sincospi(float x, float* s, float* c) { *s = sinf(float(M_PI) * x); *c = cosf(float(M_PI) * x); }
inline void sincospi(double x, double* s, double* c) { *s = sin(M_PI * x); *c = cos(M_PI * x); }
template <class T> T __ldg(const T* p) { return *p; }
template <class T> T atomicAdd(T* p, T v) { T old = *p; *p = old + v; return old; }

extern "C" __attribute__((weak, visibility("hidden"))) unsigned char __start_cuda_shared[], __stop_cuda_shared[];

namespace emu {
enum State { READY, BLOCK, WARP, DONE };
struct Fiber { jmp_buf place; ucontext_t start; std::vector<char> stack; State state; int barrier; dim3 index; bool begun = false; };
static std::vector<Fiber> fibers;
static std::vector<uint64_t> published;                 // what each thread offers to the others of its warp
static jmp_buf scheduler;
static int current;
static std::function<void()> body;
static const char* error = nullptr;

inline void wait_as(State state, int barrier) {            // leave this fiber until the scheduler comes back to it
  fibers[current].state = state; fibers[current].barrier = barrier;
  if (!_setjmp(fibers[current].place)) _longjmp(scheduler, 1);
}
inline void block_barrier(int which) { wait_as(BLOCK, which); }
inline void warp_barrier() { wait_as(WARP, 0); }
inline void forever() { for (;;) { body(); wait_as(DONE, 0); } }  // a fiber serves one block after the other
inline void resume(Fiber& f) {
  threadIdx = f.index;
  if (_setjmp(scheduler)) return;
  if (f.begun) _longjmp(f.place, 1);
  f.begun = true;
  setcontext(&f.start);
}
inline bool release(int lo, int hi, State state) {      // open a barrier that all living threads have reached
  int barrier = -1; bool any = false;
  for (int i = lo; i < hi; i++) {
    if (fibers[i].state == DONE) continue;
    if (fibers[i].state != state) return false;
    if (barrier >= 0 && fibers[i].barrier != barrier) error = "threads of one block wait at different __syncthreads()";
    barrier = fibers[i].barrier; any = true;
  }
  for (int i = lo; i < hi; i++) if (fibers[i].state == state) fibers[i].state = READY;
  return any;
}
inline void prepare(int n) {
  if (static_cast<int>(fibers.size()) < n) { fibers.clear(); fibers.resize(n); }
  published.assign(n, 0);
  for (int i = 0; i < n; i++) {
    Fiber& f = fibers[i];
    f.state = READY;
    f.index = {i % blockDim.x, i / blockDim.x % blockDim.y, i / (blockDim.x * blockDim.y)};
    if (f.begun) continue;
    f.stack.resize(64 << 10);
    getcontext(&f.start);
    f.start.uc_stack.ss_sp = f.stack.data(); f.start.uc_stack.ss_size = f.stack.size(); f.start.uc_link = nullptr;
    makecontext(&f.start, forever, 0);
  }
}
inline void run_block(int n, unsigned order) {          // order: 0 forward, 1 backward, else shuffled by this seed
  prepare(n);
  std::vector<int> turn(n);
  for (int i = 0; i < n; i++) turn[i] = order == 1 ? n - 1 - i : i;
  for (bool alive = true; alive && !error;) {
    if (order > 1) for (int i = n - 1; i > 0; i--) { order = order * 1664525u + 1013904223u; std::swap(turn[i], turn[(order >> 8) % (i + 1)]); }
    bool ran = false; alive = false;
    for (int i : turn) {
      if (fibers[i].state == READY) { current = i; resume(fibers[i]); ran = true; }
      if (error) return;
      alive |= fibers[i].state != DONE;
    }
    bool opened = false;
    for (int w = 0; w < n; w += 32) opened |= release(w, std::min(w + 32, n), WARP);
    opened |= release(0, n, BLOCK);
    if (alive && !ran && !opened) error = "deadlock: some threads never reach the barrier";
  }
}
template <class T> T exchange(T v, int lane) {          // every thread of a warp publishes v and reads that of another
  static_assert(sizeof(T) <= 8, "");
  memcpy(&published[current], &v, sizeof(T));
  warp_barrier();
  T r; memcpy(&r, &published[std::min<size_t>((current & ~31) + (lane & 31), published.size() - 1)], sizeof(T));
  warp_barrier();
  return r;
}

// The kinds of a kernel's arguments, two letters each: of the element, and '=' for a number, '*' for an array, 'c' for a constant one.
template <class T> constexpr char element() {
  return std::is_same<T, bool>::value ? '?' : std::is_same<T, float>::value ? 'f' : std::is_same<T, double>::value ? 'd'
       : (std::is_signed<T>::value ? "0bh0i000l" : "0BH0I000L")[sizeof(T)];
}
template <class T> constexpr char kind() {
  return !std::is_pointer<T>::value ? '=' : std::is_const<typename std::remove_pointer<T>::type>::value ? 'c' : '*';
}
template <class T> using Element = typename std::remove_cv<typename std::remove_pointer<T>::type>::type;
template <class... A> const char* signature(void (*)(A...)) {
  static std::string s;
  s.clear();
  char letters[][2] = {{element<Element<A>>(), kind<A>()}..., {0, 0}};
  for (size_t i = 0; i < sizeof...(A); i++) s.append(letters[i], 2);
  return s.c_str();
}
template <class... A, size_t... I> void call(void (*k)(A...), void** args, std::index_sequence<I...>) { k(*static_cast<A*>(args[I])...); }
template <class... A> const char* launch(void (*k)(A...), const unsigned* dims, unsigned order, void** args) {
  gridDim = {dims[0], dims[1], dims[2]}; blockDim = {dims[3], dims[4], dims[5]};
  error = nullptr;
  body = [=] { call(k, args, std::index_sequence_for<A...>{}); };
  size_t blocks = static_cast<size_t>(dims[0]) * dims[1] * dims[2];
  for (size_t i = 0; i < blocks && !error; i++) {
    size_t b = order & 1 ? blocks - 1 - i : i;           // odd orders run the grid backwards
    blockIdx = {unsigned(b % dims[0]), unsigned(b / dims[0] % dims[1]), unsigned(b / dims[0] / dims[1])};
    if (__start_cuda_shared) memset(__start_cuda_shared, 0xff, __stop_cuda_shared - __start_cuda_shared);  // NaN, not zeros
    run_block(dims[3] * dims[4] * dims[5], order);
  }
  if (error) fibers.clear();
  return error;
}
}  // namespace emu

template <class T> T __shfl_sync(unsigned, T v, int lane) { return emu::exchange(v, lane); }
template <class T> T __shfl_xor_sync(unsigned, T v, int mask) { return emu::exchange(v, (emu::current & 31) ^ mask); }
template <class T> T __shfl_down_sync(unsigned, T v, int n) {
  int lane = emu::current & 31;
  return emu::exchange(v, lane + n < 32 ? lane + n : lane);
}
// What g++ calls for an index outside an array of known size (-fsanitize=bounds), in place of its library's function.
extern "C" __attribute__((used)) void __ubsan_handle_out_of_bounds_abort(void*, void*) {
  emu::error = "an index outside a shared or local array";
  emu::wait_as(emu::DONE, 0);
}

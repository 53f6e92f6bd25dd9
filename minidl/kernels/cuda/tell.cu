// Numbers of the host's, written where the kernels of a captured step look for them (capture.py). A launch is given 4 KB with it,
// in the order of all launches; a copy from the host's memory would have to wait until what was copied before has been read.
struct Numbers {
  unsigned long long words[480];
};

extern "C" __global__ void tell(const __grid_constant__ Numbers numbers, unsigned long long* board, int n) {
  int t = THREAD;
  if (t < n) board[t] = numbers.words[t];
}

// A `fetch` by which half of the requests go wrong, as the seed says: they get lost, or their answers,
// or they arrive twice, at once or later.
export class FaultyNetwork {
  faults = 0
  #state

  constructor(seed) {
    this.#state = seed >>> 0
  }

  fetch = async (url, options) => {
    let again = () => fetch(url, { ...options, signal: undefined }).catch(() => {})
    let fault = Math.floor(this.#random() * 10)
    if (fault < 5) this.faults += 1
    if (fault === 0) throw new TypeError('the request was lost')
    if (fault === 1) {
      await (await fetch(url, options)).arrayBuffer()
      throw new TypeError('the answer was lost')
    }
    if (fault === 2) again()
    if (fault === 3) setTimeout(again, this.#random() * 200)
    let answer = fetch(url, options)
    if (fault === 4) again()
    return answer
  }

  // From 0 to 1: a linear congruential generator modulo 2^32.
  #random() {
    this.#state = (Math.imul(this.#state, 1664525) + 1013904223) >>> 0
    return this.#state / 2 ** 32
  }
}

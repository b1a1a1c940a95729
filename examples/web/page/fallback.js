/**
 * A connection of `@logux/core` that is two: where the first cannot connect within `limit` ms, the
 * second tries. Each time anew, so that a laptop that leaves the office has its WebSocket again.
 */
export class Fallback {
  #first
  #second
  #current
  #limit
  /** Runs while the first one tries. */
  #timer

  constructor(first, second, limit) {
    this.#first = first
    this.#second = second
    this.#current = first
    this.#limit = limit
    first.on('connect', () => this.#stopTimer())
    first.on('error', () => this.#fallBack())
    first.on('disconnect', () => this.#fallBack())
  }

  get connected() {
    return this.#current.connected
  }

  connect() {
    if (this.#timer || this.connected) return
    this.#current = this.#first
    this.#timer = setTimeout(() => this.#fallBack(), this.#limit)
    this.#first.connect()
  }

  disconnect(reason) {
    this.#stopTimer()
    this.#current.disconnect(reason)
  }

  on(event, listener) {
    const ends = [this.#first, this.#second].map(connection =>
      connection.on(event, details => {
        if (connection === this.#current) listener(details)
      })
    )
    return () => ends.forEach(end => end())
  }

  send(message) {
    this.#current.send(message)
  }

  #fallBack() {
    if (!this.#timer) return
    this.#stopTimer()
    this.#current = this.#second
    this.#first.disconnect()
    this.#second.connect()
  }

  #stopTimer() {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }
}

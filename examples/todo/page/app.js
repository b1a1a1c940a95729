import { loguxSubscribe } from '@logux/actions'
import {
  changeSyncMapById,
  createFilter,
  createSyncMap,
  CrossTabClient,
  deleteSyncMapById,
  IndexedStore,
  status,
  syncMapTemplate
} from '@logux/client'

import { addTask, finishTask, matters, tasksOf } from './tasks.js'

const state = document.querySelector('output')
const refused = document.querySelector('#refused')
const login = document.querySelector('#login')
const { user, token } = Object.fromEntries(new URLSearchParams(location.hash.slice(1)))

login.onsubmit = event => {
  event.preventDefault()
  location.hash = new URLSearchParams(new FormData(login))
}
window.onhashchange = () => location.reload()

if (user) open()

function open() {
  document.body.classList.add('open')
  // The tabs of one browser share one log and one connection.
  const client = new CrossTabClient({
    server: new URL('/logux', location).href.replace('http', 'ws'),
    store: new IndexedStore(`todo of ${user}`),
    subprotocol: 1,
    token,
    userId: user
  })
  showState(client)
  showRefused(client)
  showTasks(client)
  showNotes(client)
  client.start()
  // For the console: `await client.sync({ type: 'tasks/add', list: 'home', text: 'Milk' })`.
  window.client = client
}

function showState(client) {
  let isOut = false
  status(client, now => {
    // It may say `connecting` after that.
    if (isOut) return
    isOut = now === 'wrongCredentials'
    document.body.classList.toggle('open', !isOut)
    // Of what was refused `showRefused` tells.
    state.value = ['denied', 'error'].includes(now) ? client.state : now
  })
  // The client dials again by itself.
  client.node.catch(error => console.warn(error.message))
}

function showRefused(client) {
  client.type('logux/undo', ({ action, reason }) => {
    const what = action?.text ?? action?.fields?.text ?? action?.channel ?? ''
    const line = document.createElement('li')
    line.textContent = `${reason}: ${action?.type} ${what}`
    refused.prepend(line)
  })
}

// The action is in the log, and so on the screen, at once. The promise waits for the server's
// answer, which may take until the next connection; a refusal undoes the action by itself.
function send(sent) {
  sent.catch(error => console.warn(error.message))
}

function showTasks(client) {
  // An action stays in the log as long as it has a reason, one that came from the server, too.
  client.on('preadd', (action, meta) => {
    if (matters(action)) meta.reasons.push('tasks')
  })
  // The log may show a moment longer that they wait.
  const answered = new Set()
  client.on('add', action => {
    if (action.type === 'logux/processed') answered.add(action.id)
    if (matters(action) || action.type === 'logux/processed') show()
  })
  const sections = [...document.querySelectorAll('section[data-list]')]
  let drawn = Promise.resolve()
  let asked = false

  // Reads the log once for all the actions that come while it is being read.
  async function show() {
    if (asked) return
    asked = true
    await drawn
    asked = false
    drawn = draw()
  }

  async function draw() {
    const entries = []
    await client.log.each((action, meta) => {
      entries.push([action, meta])
    })
    for (const section of sections) {
      const rows = tasksOf(section.dataset.list, entries).map(task => row(section, task))
      section.querySelector('ul').replaceChildren(...rows)
    }
  }

  function row(section, { id, isWaiting, text }) {
    const done = () => send(client.sync(finishTask({ list: section.dataset.list, task: id })))
    return line(
      Object.assign(document.createElement('span'), { textContent: text }),
      'Done',
      done,
      isWaiting && !answered.has(id)
    )
  }

  for (const section of sections) {
    const { list } = section.dataset
    onText(section, text => send(client.sync(addTask({ list, text }))))
    send(client.sync(loguxSubscribe({ channel: `lists/${list}` })))
  }
  show()
}

function showNotes(client) {
  const Note = syncMapTemplate('notes')
  const section = document.querySelector('#notes')
  const rows = new Map()

  onText(section, text => send(createSyncMap(client, Note, { id: crypto.randomUUID(), text })))

  function row(id) {
    const input = document.createElement('input')
    input.ariaLabel = 'Note'
    input.onchange = () => send(changeSyncMapById(client, Note, id, { text: input.value }))
    return line(input, 'Delete', () => send(deleteSyncMapById(client, Note, id)))
  }

  createFilter(client, Note).subscribe(({ list }) => {
    const notes = list.filter(note => note.text !== undefined)
    for (const id of rows.keys()) {
      if (!notes.some(note => note.id === id)) {
        rows.get(id).remove()
        rows.delete(id)
      }
    }
    for (const { id, text } of notes) {
      if (!rows.has(id)) rows.set(id, row(id))
      const input = rows.get(id).querySelector('input')
      if (!input.isConnected) section.querySelector('ul').append(rows.get(id))
      input.value = text
    }
  })
}

function onText(section, act) {
  const form = section.querySelector('form')
  form.onsubmit = event => {
    event.preventDefault()
    act(form.text.value)
    form.reset()
  }
}

function line(what, name, act, isWaiting = false) {
  const button = document.createElement('button')
  button.textContent = name
  button.onclick = act
  const item = document.createElement('li')
  item.classList.toggle('waiting', isWaiting)
  item.append(what, button)
  return item
}

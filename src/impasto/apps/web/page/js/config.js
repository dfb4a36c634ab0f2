// What paints: the server that this page comes from. 'impasto web build' writes another file in this one's place.
export const painter = "./remote.js";
